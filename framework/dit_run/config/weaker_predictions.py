"""Weaker predictions: those that the guidance of a config moves away from."""

from __future__ import annotations

from dit_run.protocols import OtherWeights, WeakerPrediction
from dit_run.settings import Config

__all__ = ["samples_empty_captions", "weaker_prediction", "weaker_step"]


def weaker_prediction(config: Config) -> WeakerPrediction:
    """Return the prediction that guidance moves away from."""
    weaker: WeakerPrediction = getattr(config.guidance.options, "weaker", "empty")
    return weaker


def weaker_step(config: Config) -> int | None:
    """Return the step of the checkpoint whose weights guidance moves away from; None where it names none."""
    weaker = weaker_prediction(config)
    return weaker.checkpoint if isinstance(weaker, OtherWeights) else None


def samples_empty_captions(config: Config) -> bool:
    """Return True if sampling uses the prediction for the empty caption."""
    return config.sampling.guidance_scale != 1 and weaker_prediction(config) == "empty"
