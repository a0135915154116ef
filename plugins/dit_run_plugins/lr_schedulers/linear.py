"""linear: linear warm-up, then a line to zero."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from dit_run.options import NonNegativeInt
from dit_run.protocols import LearningRateFactor
from dit_run_plugins.lr_schedulers.warmup import warmup_factor

__all__ = ["Linear", "build", "factor"]


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Linear warm-up from zero, then a straight line to zero at the end of the run."""

    warmup_steps: NonNegativeInt = 500
    """Optimizer steps of warm-up; the default is lowered to a tenth of a run that is no longer than it."""


def build(options: Linear, *, total_steps: int) -> LearningRateFactor:
    """The factor on the peak learning rate as a function of the step."""
    return partial(factor, warmup=options.warmup_steps, total=total_steps)


def factor(step: int, *, warmup: int, total: int) -> float:
    """step / warmup below ``warmup``, then (total - step) / (total - warmup)."""
    if step < warmup:
        return warmup_factor(step, warmup)
    return (total - step) / (total - warmup)
