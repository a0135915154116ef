"""Linear warm-up, and the check that a run is long enough for it."""

from __future__ import annotations

from collections.abc import Iterator

from dit_run.problems import Problem
from dit_run.protocols import Adjustment, RuleContext

__all__ = ["warmup_factor", "warmup_fits"]


def warmup_factor(step: int, warmup: int) -> float:
    """step / warmup below ``warmup``, then 1."""
    return step / warmup if step < warmup else 1.0


def warmup_fits(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """A written `warmup_steps` is below the steps of the run; the default is lowered to a tenth of them."""
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
