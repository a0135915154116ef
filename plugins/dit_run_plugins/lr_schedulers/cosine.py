"""cosine: linear warm-up, then half a cosine to the smallest learning rate, once or with restarts."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from math import cos, pi
from typing import Annotated

from dit_run.options import NonNegativeInt, acts_unless, bounds
from dit_run.problems import Problem
from dit_run.protocols import Adjustment, LearningRateFactor, RuleContext
from dit_run_plugins.lr_schedulers.decay import Decay, above_floor
from dit_run_plugins.lr_schedulers.warmup import warmup_factor, warmup_fits

__all__ = ["Cosine", "build", "cosine_factor", "cycles", "cycles_fit"]


@dataclass(frozen=True, kw_only=True)
class Cosine(Decay):
    """Linear warm-up from zero, then half a cosine to `min_lr` at the end of the run.

    With `restarts` it returns to the peak, without another warm-up, and falls again (Loshchilov and Hutter 2017).
    """

    restarts: NonNegativeInt = 0
    """Number of returns to the peak after the first decay; 0 decays once."""
    cycle_growth: Annotated[float, bounds(ge=1), acts_unless("restarts", 0)] = 1.0
    """Length of each decay divided by the length of the one before: 2 doubles it at each restart."""


def build(options: Cosine, *, total_steps: int, learning_rate: float) -> LearningRateFactor:
    """Return the factor on the peak learning rate as a function of the step."""
    return partial(cosine_factor, ends=cycles(options, total_steps=total_steps), floor=options.floor(learning_rate))


def cycles(options: Cosine, *, total_steps: int) -> tuple[int, ...]:
    """Return the step at which the warm-up ends and then those at which each decay ends; the last is the run's end."""
    warmup, count, growth = options.warmup_length(total_steps), options.restarts + 1, options.cycle_growth
    lengths = [growth ** (index - options.restarts) for index in range(count)]  # of the last: no power is too large
    passed = [0.0, *accumulate(lengths)]
    return tuple(warmup + round(each / passed[-1] * (total_steps - warmup)) for each in passed)


def cosine_factor(step: int, *, ends: Sequence[int], floor: float) -> float:
    """Return step / warmup below ``ends[0]``, then half a cosine from 1 to ``floor`` between each two ``ends``."""
    if step < ends[0]:
        return warmup_factor(step, ends[0])
    cycle = min(bisect_right(ends, step), len(ends) - 1)
    begin, end = ends[cycle - 1], ends[cycle]
    return above_floor((1 + cos(pi * (step - begin) / (end - begin))) / 2, floor)


def cycles_fit(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """Refuse a warm-up or restarts for which the run is too short."""
    faults = list(warmup_fits(context))
    yield from faults
    options: Cosine = context.options
    total = context.facts.total_steps
    if faults or total is None or not options.restarts:
        return
    if options.restarts >= total or any(begin == end for begin, end in pairwise(cycles(options, total_steps=total))):
        yield Problem(
            "restarts-too-many",
            f"lr_scheduler.restarts is {options.restarts} with cycle_growth {options.cycle_growth:g}, and of the "
            f"run's {total} optimizer steps none are left for its shortest decay",
            (*context.path, "restarts"),
            help=("lower restarts or cycle_growth, or train longer",),
        )
