"""Linear warm-up: its options, its length and factor, and the rule that a run is long enough for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from dit_run.options import NonNegativeInt, bounds, instead_of
from dit_run.problems import Problem
from dit_run.protocols import Adjustment, RuleContext

__all__ = ["Warmup", "warmup_factor", "warmup_fits"]


@dataclass(frozen=True, kw_only=True)
class Warmup:
    """Options of a schedule that starts with a warm-up."""

    warmup_steps: NonNegativeInt | None = 500
    """Optimizer steps of linear warm-up from zero. The default is lowered to a tenth of the run if the run is not
    longer than it."""
    warmup: Annotated[float | None, bounds(ge=0, lt=1), instead_of("warmup_steps")] = None
    """Share of the run's optimizer steps for the warm-up, in place of `warmup_steps`: 0.05 fits a run of any length."""

    def warmup_length(self, total_steps: int) -> int:
        """Return the optimizer steps of the warm-up; a share of a run leaves at least its last step."""
        if self.warmup is not None:
            return min(round(self.warmup * total_steps), total_steps - 1)
        return self.warmup_steps or 0


def warmup_factor(step: int, warmup: int) -> float:
    """Return step / warmup below ``warmup``, then 1."""
    return step / warmup if step < warmup else 1.0


def warmup_fits(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """Refuse a written `warmup_steps` that is not below the steps of the run; lower the default to a tenth of them."""
    options: Warmup = context.options
    total, warmup, path = context.facts.total_steps, options.warmup_steps, (*context.path, "warmup_steps")
    if total is None or not warmup or warmup < total or options.warmup is not None:
        return
    if path in context.written:
        yield Problem(
            code="warmup-too-long",
            message=f"lr_scheduler.warmup_steps is {warmup}, but the run has {total} optimizer steps: "
            "the learning rate would never reach its peak",
            path=path,
            help=(
                f"set it below {total}; a tenth is {total // 10}",
                "or write warmup: 0.1 in its place, a share of the run that fits any length",
                "or train longer",
            ),
        )
    else:
        reason = f"the default of {warmup} is not below the run's {total} optimizer steps; it is lowered to a tenth"
        yield Adjustment(path, total // 10, reason)
