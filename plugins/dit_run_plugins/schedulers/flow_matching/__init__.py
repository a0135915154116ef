"""flow_matching: a straight path from noise to latents, and the samplers that follow it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dit_run.options import PositiveFloat
from dit_run.problems import Problem
from dit_run.protocols import RuleContext
from dit_run_plugins.schedulers.sampler_rule import sampler_problems

__all__ = ["SAMPLERS", "FlowMatching", "sampler_fits", "sampling_fits"]

SAMPLERS = ("euler", "heun", "dpm-solver++")


@dataclass(frozen=True, kw_only=True)
class FlowMatching:
    """Rectified flow (Liu et al. 2023, Lipman et al. 2023): x_t = (1 - t) latents + t noise, t from 0 (clean) to 1."""

    prediction_type: Literal["velocity", "sample"] = "velocity"
    """What the model returns: the velocity noise - latents, or the clean latents, which are easier to give in pixel
    space (Li and He 2025). The loss is that of the velocity for both."""
    timestep_sampling: Literal["uniform", "logit_normal"] = "logit_normal"
    """How training timesteps are drawn: evenly, or mostly in the middle (Esser et al. 2024)."""
    logit_mean: float = 0.0
    """Mean of the logit of t with `logit_normal`; above 0 means more noise."""
    logit_std: PositiveFloat = 1.0
    """Standard deviation of the logit of t with `logit_normal`."""
    shift: PositiveFloat | None = 1.0
    """Moves timesteps towards noise, in training and in sampling: t becomes shift t / (1 + (shift - 1) t). 1 moves
    nothing; null takes the root of the number of latent values over that of a 32 × 32 × 4 latent."""


def sampling_fits(context: RuleContext) -> Iterator[Problem]:
    """A notice where logit_mean or logit_std is written and timesteps are drawn evenly."""
    if context.options.timestep_sampling == "logit_normal":
        return
    for key in ("logit_mean", "logit_std"):
        if (*context.path, key) in context.written:
            yield Problem(
                code="without-effect",
                message=f"scheduler.{key} has no effect: timestep_sampling is uniform",
                path=(*context.path, key),
                severity="notice",
            )


def sampler_fits(context: RuleContext) -> Iterator[Problem]:
    """`sampling.sampler` is one of ours."""
    yield from sampler_problems(context, SAMPLERS)
