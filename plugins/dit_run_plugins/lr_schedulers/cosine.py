"""cosine: linear warm-up, then half a cosine to zero."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import cos, pi

from dit_run.protocols import LearningRateFactor
from dit_run_plugins.lr_schedulers.warmup import Warmup, warmup_factor

__all__ = ["Cosine", "build", "cosine_factor"]


@dataclass(frozen=True, kw_only=True)
class Cosine(Warmup):
    """Linear warm-up from zero, then half a cosine to zero at the end of the run."""


def build(options: Cosine, *, total_steps: int) -> LearningRateFactor:
    """Return the factor on the peak learning rate as a function of the step."""
    return partial(cosine_factor, warmup=options.warmup_length(total_steps), total=total_steps)


def cosine_factor(step: int, *, warmup: int, total: int) -> float:
    """Return step / warmup below ``warmup``, then (1 + cos(pi (step - warmup) / (total - warmup))) / 2."""
    if step < warmup:
        return warmup_factor(step, warmup)
    return (1 + cos(pi * (step - warmup) / (total - warmup))) / 2
