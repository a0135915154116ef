"""cosine: linear warm-up, then half a cosine to zero."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import cos, pi

from dit_run.options import NonNegativeInt
from dit_run.protocols import LearningRateFactor
from dit_run_plugins.lr_schedulers.warmup import warmup_factor

__all__ = ["Cosine", "build", "factor"]


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Linear warm-up from zero, then half a cosine to zero at the end of the run."""

    warmup_steps: NonNegativeInt = 500
    """Optimizer steps of warm-up; the default is lowered to a tenth of a run that is no longer than it."""


def build(options: Cosine, *, total_steps: int) -> LearningRateFactor:
    """The factor on the peak learning rate as a function of the step."""
    return partial(factor, warmup=options.warmup_steps, total=total_steps)


def factor(step: int, *, warmup: int, total: int) -> float:
    """step / warmup below ``warmup``, then (1 + cos(pi (step - warmup) / (total - warmup))) / 2."""
    if step < warmup:
        return warmup_factor(step, warmup)
    return (1 + cos(pi * (step - warmup) / (total - warmup))) / 2
