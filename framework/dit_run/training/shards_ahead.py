"""Shards ahead: remote shards are downloaded before the micro-batches that need them are loaded."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from queue import SimpleQueue
from typing import TypeVar

from dit_run.data.remote_shards import RemoteShards
from dit_run.data.shard_sources import RemoteShard
from dit_run.problems import DitRunError

__all__ = ["ShardsAhead"]

T = TypeVar("T")

_DOWNLOADS = 4
"""Shards that are downloaded at the same time (number)."""
_MOST_AHEAD = 100_000
"""Micro-batches that are looked at ahead (number)."""


class ShardsAhead:
    """Downloads, in threads, the shards of the next micro-batches, as many as the cache holds.

    Use it as a context. Loading works without it: a shard that is not there yet is downloaded by its first reader.
    """

    def __init__(self, remote: RemoteShards, micro_batches: Iterable[Sequence[int]]) -> None:
        self._remote: RemoteShards = remote
        self._micro_batches: Iterable[Sequence[int]] = micro_batches
        self._ahead: deque[list[int]] = deque()
        """Shards of each micro-batch that was looked at and not taken yet."""
        self._uses: Counter[int] = Counter()
        """Micro-batches ahead that need each shard."""
        self._budget: int = _budget(remote)
        self._closed: bool = False
        self._changed: threading.Condition = threading.Condition()
        self._late: int = 0
        """Micro-batches that were taken before they were looked at (number)."""
        self._wanted: SimpleQueue[int | None] = SimpleQueue()
        """Shards to download; None ends a thread."""
        works = (self._look_ahead, *(self._download,) * _DOWNLOADS)
        self._threads: list[threading.Thread] = [threading.Thread(target=work, daemon=True) for work in works]

    def __enter__(self) -> ShardsAhead:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for _ in range(_DOWNLOADS):
            self._wanted.put(None)

    def counted(self, loaded: Iterator[T]) -> Iterator[T]:
        """Yield the loaded micro-batches; the shards that no later one needs make room for others."""
        for batch in loaded:
            self._take()
            yield batch

    def _take(self) -> None:
        """Note that the next micro-batch was loaded."""
        with self._changed:
            self._late += not self._ahead
            for shard in self._ahead.popleft() if self._ahead else ():
                self._uses[shard] -= 1
                if self._uses[shard] == 0:
                    del self._uses[shard]
            self._changed.notify_all()

    def _look_ahead(self) -> None:
        for positions in self._micro_batches:
            needed = self._remote.needed(positions)
            with self._changed:
                self._changed.wait_for(lambda needed=needed: self._closed or self._has_room(needed))  # type: ignore[misc]
                if self._closed:
                    return
                if self._late:
                    self._late -= 1
                    continue
                fresh = [shard for shard in needed if shard not in self._uses]
                self._ahead.append(needed)
                self._uses.update(needed)
            for shard in fresh:
                self._wanted.put(shard)

    def _has_room(self, needed: Sequence[int]) -> bool:
        if not self._ahead:
            return True
        return len(self._ahead) < _MOST_AHEAD and self._bytes({*self._uses, *needed}) <= self._budget

    def _bytes(self, shards: Iterable[int]) -> int:
        return sum(self._shard(shard).bytes for shard in shards)

    def _download(self) -> None:
        while (shard := self._wanted.get()) is not None and not self._closed:
            self._fetch(shard)

    def _fetch(self, number: int) -> None:
        shard = self._shard(number)
        with self._changed:
            wanted = [self._shard(each).remote for each in self._uses]
        with contextlib.suppress(DitRunError):  # raised again by the loader that needs the shard
            shard.cache.keep(wanted)
            shard.cache.fetch(shard.remote)

    def _shard(self, number: int) -> RemoteShard:
        shard = self._remote.shards[number]
        if shard is None:
            raise ValueError(f"shard {number} is not remote")
        return shard


def _budget(remote: RemoteShards) -> int:
    """Return how many bytes of shards are held ahead: the size of the cache without that of its largest shard."""
    shards = [shard for shard in remote.shards if shard is not None]
    return shards[0].cache.limit - max(shard.bytes for shard in shards)
