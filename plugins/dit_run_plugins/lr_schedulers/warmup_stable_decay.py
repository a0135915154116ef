"""warmup_stable_decay: warm-up, a long constant phase, and a short decay at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from dit_run.options import Probability, acts_unless
from dit_run.problems import Problem
from dit_run.protocols import Adjustment, LearningRateFactor, RuleContext
from dit_run_plugins.lr_schedulers.decay import Decay, above_floor
from dit_run_plugins.lr_schedulers.warmup import warmup_factor, warmup_fits

__all__ = ["WarmupStableDecay", "build", "phases_fit", "warmup_stable_decay_factor"]


@dataclass(frozen=True, kw_only=True)
class WarmupStableDecay(Decay):
    """Linear warm-up from zero, the peak learning rate, then a decay to `min_lr` at the end (Hägele et al. 2024)."""

    decay_share: Probability = 0.2
    """Share of the run's optimizer steps, at its end, in which the learning rate decays."""
    decay_shape: Annotated[Literal["sqrt", "linear"], acts_unless("decay_share", 0.0)] = "sqrt"
    """1 - sqrt(x) or 1 - x, for x from 0 at the start of the decay to 1 at the end of the run."""


def build(options: WarmupStableDecay, *, total_steps: int, learning_rate: float) -> LearningRateFactor:
    """Return the factor on the peak learning rate as a function of the step."""
    decay = round(options.decay_share * total_steps)
    return partial(
        warmup_stable_decay_factor,
        warmup=options.warmup_length(total_steps),
        decay=decay,
        total=total_steps,
        shape=options.decay_shape,
        floor=options.floor(learning_rate),
    )


def warmup_stable_decay_factor(step: int, *, warmup: int, decay: int, total: int, shape: str, floor: float) -> float:
    """Return step / warmup below ``warmup``, then 1, then 1 - sqrt(x) or 1 - x of the way from ``floor`` to 1.

    x is the part of the last ``decay`` steps that has passed.
    """
    passed = step - (total - decay)
    if passed <= 0:
        return warmup_factor(step, warmup)
    x = passed / decay
    return above_floor(1 - (x**0.5 if shape == "sqrt" else x), floor)


def phases_fit(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """Refuse a warm-up that ends after the decay begins; lower the default warm-up to a tenth of the run."""
    faults = list(warmup_fits(context))
    yield from faults
    options: WarmupStableDecay = context.options
    total = context.facts.total_steps
    if faults or total is None:
        return
    warmup, decay = options.warmup_length(total), round(options.decay_share * total)
    if warmup + decay <= total:
        return
    path = (*context.path, "warmup_steps" if options.warmup is None else "warmup")
    overlap = f"{warmup} steps of warm-up and {decay} of decay do not fit into the run's {total}"
    if path not in context.written and total // 10 + decay <= total:
        yield Adjustment(path, total // 10, f"{overlap}; the default warm-up is lowered to a tenth")
        return
    yield Problem(
        code="warmup-meets-decay",
        message=f"lr_scheduler.{path[-1]} and decay_share overlap: {overlap}",
        path=(*context.path, "decay_share"),
        related=(path,),
        help=("lower one of the two",),
    )
