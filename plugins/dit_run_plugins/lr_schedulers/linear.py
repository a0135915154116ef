"""linear: linear warm-up, then a straight line to zero."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from dit_run.protocols import LearningRateFactor
from dit_run_plugins.lr_schedulers.warmup import Warmup, warmup_factor

__all__ = ["Linear", "build", "linear_factor"]


@dataclass(frozen=True, kw_only=True)
class Linear(Warmup):
    """Linear warm-up from zero, then a straight line to zero at the end of the run."""


def build(options: Linear, *, total_steps: int) -> LearningRateFactor:
    """Return the factor on the peak learning rate as a function of the step."""
    return partial(linear_factor, warmup=options.warmup_length(total_steps), total=total_steps)


def linear_factor(step: int, *, warmup: int, total: int) -> float:
    """Return step / warmup below ``warmup``, then (total - step) / (total - warmup)."""
    return warmup_factor(step, warmup) if step < warmup else (total - step) / (total - warmup)
