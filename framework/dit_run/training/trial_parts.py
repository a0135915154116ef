"""The parts of a run for a trial before it: built as the run builds them, from the data itself and without a cache."""

from __future__ import annotations

import torch

from dit_run.assembly.parts import build_denoiser
from dit_run.assembly.prepare import prepare
from dit_run.config.machine_rules import check_machine
from dit_run.settings import Config
from dit_run.training.normalizing import CHECKED_SAMPLES, measure_latents
from dit_run.training.run_parts import RunParts
from dit_run.training.scoring import build_metrics

__all__ = ["build_trial_parts"]


def build_trial_parts(config: Config, device: torch.device) -> tuple[RunParts, tuple[str, ...]]:
    """Return the parts, and a note for each source of weights with which the model begins.

    Raises InputError for a config that a run refuses.
    """
    check_machine(config)
    config, data, encoders = prepare(config, device=device)
    build_metrics(config, data)
    begun: list[str] = []
    denoiser = build_denoiser(config, encoders, torch.device("cpu"), begin=begun.append)
    if (normalization := denoiser.normalization) is not None and normalization.is_identity:
        measured = measure_latents(config, data, encoders, device, CHECKED_SAMPLES)
        normalization.set(measured.mean, measured.deviation)
    parts = RunParts.build(config, data, encoders, device, denoiser=denoiser)
    parts.learning_rate_factor()
    return parts, tuple(begun)
