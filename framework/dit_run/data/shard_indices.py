"""Indices of many shards: kept ones are opened, missing ones are built, in several processes where that takes long.

Each finished shard is kept at once, so that an interrupted build continues with the remaining shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from dit_run.data.column_files import Columns
from dit_run.data.kept_columns import kept, known
from dit_run.system.cores import usable_cores

__all__ = ["IndexedShard", "indices_of"]

_PARALLEL_BYTES = 2**30
"""Bytes of shards without an index from which on processes are worth their start."""

_DOWNLOADS = 4
"""Remote shards that one process downloads at the same time (number)."""


class IndexedShard(Protocol):
    """A shard whose index can be built. Picklable."""

    @property
    def bytes(self) -> int:
        """Bytes that are read to build the index."""
        ...

    @property
    def is_local(self) -> bool:
        """False for a shard that is downloaded first."""
        ...

    @property
    def identity(self) -> Sequence[Any]:
        """Plain values that name the shard, its state and all that decides the index."""
        ...

    @property
    def settled(self) -> bool:
        """False if a later write of the shard may not change its identity; its index is then not kept."""
        ...

    def build(self) -> Columns:
        """Read the shard. Raises InputError."""
        ...


def indices_of(shards: Sequence[IndexedShard], *, workers: int | None = None) -> list[Columns]:
    """Return the index of each shard. ``workers`` is how many processes build; None decides by the size of the shards.

    Raises InputError as the shards do.
    """
    found = [known(shard.identity) for shard in shards]
    missing = [number for number, index in enumerate(found) if index is None]
    built = _mapped([shards[number] for number in missing], workers)
    for number, index in zip(missing, built, strict=True):
        found[number] = index
    return [index for index in found if index is not None]


def _build(shard: IndexedShard) -> Columns:
    return kept(shard.identity, shard.build, lasting=lambda columns: shard.settled)


def _mapped(shards: Sequence[IndexedShard], workers: int | None) -> list[Columns]:
    if workers is None:
        workers = usable_cores() if sum(shard.bytes for shard in shards) > _PARALLEL_BYTES else 1
    workers = min(workers, len(shards))
    if workers < 2 and all(shard.is_local for shard in shards):
        return [_build(shard) for shard in shards]
    if workers < 2:
        with ThreadPoolExecutor(_DOWNLOADS) as threads:
            return list(threads.map(_build, shards))
    from dit_run.compute.worker_pool import WorkerPool

    advice = "The same command continues with the remaining shards"
    with WorkerPool[IndexedShard, Columns](
        _build, workers, ahead=2, role="worker that indexes shards", advice=advice
    ) as pool:
        return list(pool.map(shards))
