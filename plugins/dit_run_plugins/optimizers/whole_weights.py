"""The rule of optimizers that need whole weights in each process."""

from __future__ import annotations

from collections.abc import Iterator

from dit_run.problems import Problem
from dit_run.protocols import RuleContext

__all__ = ["not_sharded"]


def not_sharded(context: RuleContext) -> Iterator[Problem]:
    """Refuse sharded weights, whose parts the packages of some optimizers cannot update."""
    if context.config.training.shard != 1:
        kind = context.config.optimizer.type
        yield Problem(
            "not-sharded",
            f"training.shard is {context.config.training.shard}, but the optimizer {kind} needs whole weights in each "
            "process",
            (*context.path, "type"),
            related=(("training", "shard"),),
            help=("set optimizer.type: adamw, muon or schedule_free_adamw, or training.shard: 1",),
        )
