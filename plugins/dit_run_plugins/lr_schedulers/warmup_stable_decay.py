"""warmup_stable_decay: warm-up, a long constant stretch, and a short decay at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from dit_run.options import NonNegativeInt, Probability
from dit_run.problems import Problem
from dit_run.protocols import Adjustment, LearningRateFactor, RuleContext
from dit_run_plugins.lr_schedulers.warmup import warmup_factor, warmup_fits

__all__ = ["WarmupStableDecay", "build", "factor", "phases_fit"]


@dataclass(frozen=True, kw_only=True)
class WarmupStableDecay:
    """Linear warm-up from zero, the peak learning rate, then a decay to zero over the last share of the run
    (Hägele et al. 2024)."""

    warmup_steps: NonNegativeInt = 500
    """Optimizer steps of warm-up; the default is lowered to a tenth of a run that is no longer than it."""
    decay_share: Probability = 0.2
    """Share of the run's optimizer steps in which the rate decays, at its end."""
    decay_shape: Literal["sqrt", "linear"] = "sqrt"
    """1 - sqrt(x) or 1 - x, for x from 0 at the start of the decay to 1 at the end of the run."""


def build(options: WarmupStableDecay, *, total_steps: int) -> LearningRateFactor:
    """The factor on the peak learning rate as a function of the step."""
    return partial(
        factor,
        warmup=options.warmup_steps,
        decay=round(options.decay_share * total_steps),
        total=total_steps,
        shape=options.decay_shape,
    )


def factor(step: int, *, warmup: int, decay: int, total: int, shape: str) -> float:
    """step / warmup below ``warmup``, 1, and 1 - sqrt(x) or 1 - x in the last ``decay`` steps, where x is the part of
    them that has passed."""
    passed = step - (total - decay)
    if passed <= 0:
        return warmup_factor(step, warmup)
    x = passed / decay
    return 1 - (x**0.5 if shape == "sqrt" else x)


def phases_fit(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """Warm-up ends before the decay begins; the default warm-up is lowered to a tenth of the run where it does not."""
    faults = list(warmup_fits(context))
    yield from faults
    total, options = context.facts.total_steps, context.options
    if faults or total is None:
        return
    decay, path = round(options.decay_share * total), (*context.path, "warmup_steps")
    if options.warmup_steps + decay <= total:
        return
    overlap = f"{options.warmup_steps} steps of warm-up and {decay} of decay do not fit into the run's {total}"
    if path not in context.written and total // 10 + decay <= total:
        yield Adjustment(path, total // 10, f"{overlap}; the default warm-up is lowered to a tenth")
        return
    yield Problem(
        code="warmup-meets-decay",
        message=f"lr_scheduler.warmup_steps and decay_share overlap: {overlap}",
        path=(*context.path, "decay_share"),
        related=(path,),
        help=("lower one of the two",),
    )
