"""A learning-rate scheduler: a linear decay."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from dit_run import Component, Kind, hookimpl
from dit_run.options import Probability
from dit_run.protocols import LearningRateFactor


@dataclass(frozen=True, kw_only=True)
class Example:
    """Linear decay from the peak learning rate to a fraction of it."""

    end: Probability = 0.1
    """Learning rate at the end of the run, as a fraction of the peak."""


def build(options: Example, *, total_steps: int) -> LearningRateFactor:
    """Return a pure function of the optimizer step; its value, 0 to 1, multiplies the peak learning rate."""
    return partial(factor, end=options.end, total_steps=total_steps)


def factor(step: int, *, end: float, total_steps: int) -> float:
    return 1 - (1 - end) * step / total_steps


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.LR_SCHEDULER, "example", Example, build)]
