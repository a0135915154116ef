"""constant: the peak learning rate, after an optional warm-up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from dit_run.options import NonNegativeInt
from dit_run.protocols import LearningRateFactor
from dit_run_plugins.lr_schedulers.warmup import Warmup, warmup_factor

__all__ = ["Constant", "build"]


@dataclass(frozen=True, kw_only=True)
class Constant(Warmup):
    """The peak learning rate throughout, after an optional linear warm-up."""

    warmup_steps: NonNegativeInt | None = 0
    """Optimizer steps of linear warm-up from zero."""


def build(options: Constant, *, total_steps: int) -> LearningRateFactor:
    """Return the factor on the peak learning rate as a function of the step."""
    return partial(warmup_factor, warmup=options.warmup_length(total_steps))
