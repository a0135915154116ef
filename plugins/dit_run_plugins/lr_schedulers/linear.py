"""linear: linear warm-up, then a straight line to the smallest learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from dit_run.protocols import LearningRateFactor
from dit_run_plugins.lr_schedulers.decay import Decay, above_floor
from dit_run_plugins.lr_schedulers.warmup import warmup_factor

__all__ = ["Linear", "build", "linear_factor"]


@dataclass(frozen=True, kw_only=True)
class Linear(Decay):
    """Linear warm-up from zero, then a straight line to `min_lr` at the end of the run."""


def build(options: Linear, *, total_steps: int, learning_rate: float) -> LearningRateFactor:
    """Return the factor on the peak learning rate as a function of the step."""
    return partial(
        linear_factor,
        warmup=options.warmup_length(total_steps),
        total=total_steps,
        floor=options.floor(learning_rate),
    )


def linear_factor(step: int, *, warmup: int, total: int, floor: float) -> float:
    """Return step / warmup below ``warmup``, then a line from 1 to ``floor`` at ``total``."""
    if step < warmup:
        return warmup_factor(step, warmup)
    return above_floor((total - step) / (total - warmup), floor)
