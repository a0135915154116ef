"""Indices of many shards: kept ones are opened, missing ones are built, in several processes where that takes long.

Each finished shard is kept at once, so that an interrupted build continues with the remaining shards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from dit_run.data.column_files import Columns
from dit_run.digests import cache_home, combined
from dit_run.system.cores import usable_cores
from dit_run.system.durable import make_folder
from dit_run.system.file_locks import locked

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

    def build(self) -> Columns:
        """Read the shard. Raises InputError."""
        ...


def indices_of(shards: Sequence[IndexedShard], *, workers: int | None = None) -> list[Columns]:
    """Return the index of each shard. ``workers`` is how many processes build; None decides by the size of the shards.

    Raises InputError as the shards do.
    """
    home = cache_home()
    keep = partial(_kept, None if home is None else home / "indexes")
    known = [keep(shard, build=False) for shard in shards]
    missing = [number for number, index in enumerate(known) if index is None]
    built = _mapped(_Builder(keep), [shards[number] for number in missing], workers)
    for number, index in zip(missing, built, strict=True):
        known[number] = index
    return [index for index in known if index is not None]


@dataclass(frozen=True)
class _Builder:
    keep: Callable[..., Columns | None]

    def __call__(self, shard: IndexedShard) -> Columns:
        return self.keep(shard, build=True) or shard.build()


def _mapped(build: _Builder, shards: Sequence[IndexedShard], workers: int | None) -> list[Columns]:
    if workers is None:
        workers = usable_cores() if sum(shard.bytes for shard in shards) > _PARALLEL_BYTES else 1
    workers = min(workers, len(shards))
    if workers < 2 and all(shard.is_local for shard in shards):
        return [build(shard) for shard in shards]
    if workers < 2:
        with ThreadPoolExecutor(_DOWNLOADS) as threads:
            return list(threads.map(build, shards))
    from dit_run.compute.worker_pool import WorkerPool

    advice = "The same command continues with the remaining shards"
    with WorkerPool[IndexedShard, Columns](
        build, workers, ahead=2, role="worker that indexes shards", advice=advice
    ) as pool:
        return list(pool.map(shards))


def _kept(folder: Path | None, shard: IndexedShard, *, build: bool) -> Columns | None:
    """Return the kept index of a shard; if it is missing and ``build`` is true, build and keep it."""
    if folder is None:
        return shard.build() if build else None
    file = folder / f"{combined(shard.identity)[:32]}.index"
    if not build:
        return Columns.read(file)
    with contextlib.suppress(OSError):
        make_folder(folder)
    with locked(file.with_suffix(".lock")):  # of several processes of a run, one builds
        index = Columns.read(file)
        if index is None:
            index = shard.build()
            with contextlib.suppress(OSError):  # the next start reads the shard again
                index = index.stored(file)
    return index
