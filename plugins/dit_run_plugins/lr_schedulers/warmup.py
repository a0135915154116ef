"""Linear warm-up: its option, its factor, and the rule that a run is long enough for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dit_run.options import NonNegativeInt
from dit_run.problems import Problem
from dit_run.protocols import Adjustment, RuleContext

__all__ = ["Warmup", "warmup_factor", "warmup_fits"]


@dataclass(frozen=True, kw_only=True)
class Warmup:
    """Options of a schedule that starts with a warm-up."""

    warmup_steps: NonNegativeInt = 500
    """Optimizer steps of linear warm-up from zero. The default is lowered to a tenth of the run if the run is not
    longer than it."""


def warmup_factor(step: int, warmup: int) -> float:
    """Return step / warmup below ``warmup``, then 1."""
    return step / warmup if step < warmup else 1.0


def warmup_fits(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """Refuse a written `warmup_steps` that is not below the steps of the run; lower the default to a tenth of them."""
    total, warmup = context.facts.total_steps, context.options.warmup_steps
    path = (*context.path, "warmup_steps")
    if total is None or warmup < total or warmup == 0:
        return
    if path in context.written:
        yield Problem(
            code="warmup-too-long",
            message=f"lr_scheduler.warmup_steps is {warmup}, but the run has {total} optimizer steps: "
            "the learning rate would never reach its peak",
            path=path,
            help=(f"set it below {total}; a tenth is {total // 10}", "or train longer"),
        )
    else:
        reason = f"the default of {warmup} is not below the run's {total} optimizer steps; it is lowered to a tenth"
        yield Adjustment(path, total // 10, reason)
