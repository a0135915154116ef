"""A learning-rate scheduler: a straight line down."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from dit_run import Component, Kind, hookimpl
from dit_run.options import Probability
from dit_run.protocols import LearningRateFactor


@dataclass(frozen=True, kw_only=True)
class Example:
    """A straight line from the peak learning rate down to a share of it."""

    end: Probability = 0.1
    """The share that is left at the end of the run."""


def build(options: Example, *, total_steps: int) -> LearningRateFactor:
    """A pure function of the optimizer step; its values multiply the peak learning rate."""
    return partial(factor, end=options.end, total_steps=total_steps)


def factor(step: int, *, end: float, total_steps: int) -> float:
    return 1 - (1 - end) * step / total_steps


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.LR_SCHEDULER, "example", Example, build)]
