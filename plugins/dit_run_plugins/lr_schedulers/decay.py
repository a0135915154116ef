"""Decay of the learning rate: the rate at which it ends, and the rule that this rate is below the peak."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dit_run.options import NonNegativeFloat
from dit_run.problems import Problem
from dit_run.protocols import RuleContext
from dit_run_plugins.lr_schedulers.warmup import Warmup

__all__ = ["Decay", "above_floor", "ends_below_peak"]


@dataclass(frozen=True, kw_only=True)
class Decay(Warmup):
    """Options of a schedule whose learning rate falls."""

    min_lr: NonNegativeFloat = 0.0
    """Learning rate at which the decay ends, below `training.learning_rate`; 0 lets it fall to zero. Parameters with
    another peak, as by `training.learning_rate_factors`, end at the same share of theirs."""

    def floor(self, learning_rate: float) -> float:
        """Return `min_lr` as a share of the peak learning rate."""
        return self.min_lr / learning_rate


def above_floor(share: float, floor: float) -> float:
    """Return the factor that lies at ``share`` (0 to 1) of the way from ``floor`` to the peak."""
    return floor + (1 - floor) * share


def ends_below_peak(context: RuleContext) -> Iterator[Problem]:
    """Refuse a `min_lr` that is not below the peak: nothing would decay."""
    options: Decay = context.options
    peak = context.config.training.learning_rate
    if options.min_lr >= peak:
        yield Problem(
            "min-lr-above-peak",
            f"lr_scheduler.min_lr is {options.min_lr:g}, which is not below training.learning_rate {peak:g}: the "
            "learning rate would not decay",
            (*context.path, "min_lr"),
            related=(("training", "learning_rate"),),
            help=(f"set it below {peak:g}; a tenth is {peak / 10:g}", "or set lr_scheduler.type: constant"),
        )
