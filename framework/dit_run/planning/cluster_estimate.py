"""An estimate of training on many GPUs that are not at hand: memory and traffic of each way to share the weights."""

from __future__ import annotations

from dataclasses import dataclass

from dit_run.assembly.parts import encoder_shapes
from dit_run.planning.batch_choice import MARGIN
from dit_run.planning.memory_estimate import estimate_step
from dit_run.settings import Config

__all__ = ["Cluster", "Needs", "ShardedStep", "estimate_needs", "sharded_step", "shards_of"]

_BYTES = 4
"""Bytes of a weight, and of its gradient: both are kept in fp32."""
_GATHERED = 0.1
"""Weights that are gathered at a time, those of two blocks and outside of blocks (share of all)."""


@dataclass(frozen=True)
class Cluster:
    """Machines with GPUs, and how fast data move (bytes a second)."""

    gpus: int
    per_node: int
    memory: int
    """Memory of a GPU (bytes)."""
    inside: float = 300e9
    """Between the GPUs of a machine, for each: NVLink."""
    between: float = 50e9
    """Between machines, for each GPU: InfiniBand with 400 Gbit/s."""
    writing: float = 1e9
    """Of the process that writes checkpoints."""

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


@dataclass(frozen=True)
class ShardedStep:
    """A micro-step of one GPU with weights shared by ``shards`` GPUs."""

    shards: int
    memory: float
    """At the config's batch size (bytes)."""
    largest_batch: int
    """Largest batch size that fits; 0 for none."""
    traffic: float
    """Bytes that a GPU sends for a micro-step."""
    seconds: float
    """Time of the traffic where nothing overlaps with it."""


def shards_of(cluster: Cluster) -> list[int]:
    """Return the numbers of GPUs that may share weights: one, those of a machine, and all."""
    return sorted({1, cluster.per_node, cluster.gpus})


def estimate_needs(config: Config) -> Needs:
    """Return what a config's step takes. No data are read; of the encoders their shapes count."""
    encoders, batch = encoder_shapes(config), config.training.batch_size
    once, twice = (estimate_step(config, encoders, batch_size=size, accumulates=False) for size in (batch, 2 * batch))
    sample = (twice.tensors - once.tensors) / batch
    gathered = _BYTES if config.training.mixed_precision == "no" else 2
    fixed = max(0.0, once.peak - once.held - sample * batch - _BYTES * once.parameters)
    return Needs(once.parameters, once.held, sample, fixed, gathered)


def sharded_step(needs: Needs, cluster: Cluster, shards: int, batch_size: int) -> ShardedStep:
    """Return memory and traffic of a micro-step with ``shards`` GPUs that share the weights."""
    resident = (needs.held + _BYTES * needs.trained) / shards + needs.fixed
    if shards > 1:
        resident += _GATHERED * needs.gathered_bytes * needs.trained
    largest = max(0, int((MARGIN * cluster.memory - resident) // needs.sample))
    inside, between = _traffic(needs, cluster, shards)
    seconds = inside / cluster.inside + between / cluster.between
    return ShardedStep(shards, resident + batch_size * needs.sample, largest, inside + between, seconds)


def _traffic(needs: Needs, cluster: Cluster, shards: int) -> tuple[float, float]:
    """Return the bytes that a GPU sends inside its machine and between machines.

    Gathering weights twice and reducing gradients takes (s - 1) / s of their bytes each in a ring of s GPUs; replicas
    then add up their shards, which takes twice as much.
    """
    replicas = cluster.gpus // shards
    sharing = (shards - 1) / shards * needs.trained * (2 * needs.gathered_bytes + _BYTES)
    adding = 2 * (replicas - 1) / replicas * _BYTES * needs.trained / shards
    alone = cluster.nodes == 1
    inside = (sharing if shards <= cluster.per_node else 0) + (adding if alone else 0)
    return inside, sharing + adding - inside
