"""An estimate of training on many GPUs that are not at hand: memory and traffic of each way to share the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dit_run.assembly.parts import Encoders
from dit_run.planning.assumptions import Assumptions
from dit_run.planning.batch_choice import MARGIN, fits
from dit_run.planning.memory_estimate import estimate_step
from dit_run.planning.text_weights import TextWeights, live_size
from dit_run.settings import Config

__all__ = ["Cluster", "Needs", "ShardedStep", "estimate_needs", "sharded_step", "shards_of"]

_BYTES = 4
"""Bytes of a weight, and of its gradient: both are kept in fp32."""
_GATHERED = 0.1
"""Weights that are gathered at a time, those of two blocks and outside of blocks (share of all)."""


@dataclass(frozen=True)
class Cluster:
    """Machines with GPUs."""

    gpus: int
    per_node: int
    memory: int
    """Memory of a GPU (bytes)."""
    assumed: Assumptions = field(default_factory=Assumptions)

    @property
    def nodes(self) -> int:
        return self.gpus // self.per_node


@dataclass(frozen=True)
class Needs:
    """Memory that a training step of one GPU takes without sharding (bytes)."""

    trained: int
    """Parameters that train (number)."""
    held: int
    """Weights, optimizer state and averages."""
    sample: float
    """Activations of a sample."""
    fixed: float
    """All else apart from gradients: kernels and workspaces."""
    gathered_bytes: int
    """Bytes of a gathered weight."""
    encoders: int = 0
    """Weights of frozen text encoders that work in the step."""
    evaluated: int = 0
    """Weights that are evaluated during training, and their first average; 0 for a run without evaluation."""


@dataclass(frozen=True)
class ShardedStep:
    """A micro-step of one GPU with weights shared by ``shards`` GPUs."""

    shards: int
    memory: float
    """At the config's batch size (bytes)."""
    evaluation: float
    """Memory of validation, previews and metrics without their activations (bytes); 0 for a run without them."""
    largest_batch: int
    """Largest batch size that fits; 0 for none."""
    traffic: float
    """Bytes that a GPU sends for a micro-step."""
    seconds: float
    """Time of the traffic where nothing overlaps with it."""

    def fits(self, cluster: Cluster) -> bool:
        """Return True if the GPUs have the memory."""
        return fits(max(self.memory, self.evaluation), cluster.memory)


def shards_of(cluster: Cluster) -> list[int]:
    """Return the numbers of GPUs that may share weights: one, those of a machine, and all."""
    return sorted({1, cluster.per_node, cluster.gpus})


def estimate_needs(config: Config, encoders: Encoders, texts: Sequence[TextWeights | None]) -> Needs:
    """Return what a config's step takes, with the weights of its text encoders. No data are read."""
    batch = config.training.batch_size
    once, twice = (estimate_step(config, encoders, batch_size=size, accumulates=False) for size in (batch, 2 * batch))
    sample = (twice.tensors - once.tensors) / batch
    gathered = _BYTES if config.training.mixed_precision == "no" else 2
    fixed = max(0.0, once.peak - once.held - sample * batch - _BYTES * once.parameters)
    evaluates = config.validation.every_n_steps or config.sampling.every_n_steps or config.metrics
    evaluated = once.weights * (1 + bool(config.average_names)) if evaluates else 0
    return Needs(once.parameters, once.held, sample, fixed, gathered, live_size(texts), evaluated)


def sharded_step(needs: Needs, cluster: Cluster, shards: int, batch_size: int) -> ShardedStep:
    """Return memory and traffic of a micro-step with ``shards`` GPUs that share the weights.

    A run that shares weights evaluates whole copies of them, after a step and next to its parts.
    """
    parts = (needs.held + _BYTES * needs.trained + needs.encoders) / shards + needs.fixed
    gathered = _GATHERED * needs.gathered_bytes * needs.trained if shards > 1 else 0.0
    copies = needs.evaluated + needs.encoders if shards > 1 and needs.evaluated else 0
    largest = max(0, int((MARGIN * cluster.memory - parts - gathered) // needs.sample))
    inside, between = _traffic(needs, cluster, shards)
    return ShardedStep(
        shards=shards,
        memory=parts + gathered + batch_size * needs.sample,
        evaluation=parts + copies if needs.evaluated else 0.0,
        largest_batch=largest,
        traffic=inside + between,
        seconds=inside / cluster.assumed.inside + between / cluster.assumed.between,
    )


def _traffic(needs: Needs, cluster: Cluster, shards: int) -> tuple[float, float]:
    """Return the bytes that a GPU sends inside its machine and between machines.

    Gathering weights twice and reducing gradients takes (s - 1) / s of their bytes each in a ring of s GPUs, and frozen
    text encoders are gathered once; replicas then add up their shards, which takes twice as much.
    """
    replicas = cluster.gpus // shards
    shared = needs.trained * (2 * needs.gathered_bytes + _BYTES) + needs.encoders
    sharing = (shards - 1) / shards * shared
    adding = 2 * (replicas - 1) / replicas * _BYTES * needs.trained / shards
    alone = cluster.nodes == 1
    inside = (sharing if shards <= cluster.per_node else 0) + (adding if alone else 0)
    return inside, sharing + adding - inside
