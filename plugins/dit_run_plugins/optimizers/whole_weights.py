"""Rules of optimizers that need whole weights: in each process, or for results that do not depend on the shards."""

from __future__ import annotations

from collections.abc import Iterator

from dit_run.problems import Problem
from dit_run.protocols import RuleContext

__all__ = ["not_sharded", "shares_exactly"]


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


def shares_exactly(context: RuleContext) -> Iterator[Problem]:
    """Refuse matrices that processes share out on GPUs, where the last bits depend on how many are updated together."""
    training = context.config.training
    if training.elastic_exact and training.shard != 1 and training.device != "cpu":
        kind = context.config.optimizer.type
        yield Problem(
            "not-sharded",
            f"training.elastic_exact is true and training.shard is {training.shard}, but the optimizer {kind} updates "
            "matrices of one shape together on a GPU, and each process has another number of them",
            (*context.path, "type"),
            related=(("training", "elastic_exact"), ("training", "shard"), ("training", "device")),
            help=("set optimizer.type: adamw, training.shard: 1, elastic_exact: false or training.device: cpu",),
        )
