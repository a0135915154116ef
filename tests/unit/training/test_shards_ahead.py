"""Shards are downloaded before they are needed, in the order of need, and no more than the cache holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import numpy as np
import pytest

from dit_run.data.downloads import RemoteFailed, RemoteFile
from dit_run.data.remote_shards import RemoteShards
from dit_run.data.samples import Samples, choose
from dit_run.data.shard_sources import RemoteShard
from dit_run.protocols import Sample
from dit_run.registry.kind_options import DatasetCommon
from dit_run.training.shards_ahead import ShardsAhead

SHARDS, EACH, BATCH = 8, 10, 5


@dataclass
class Cache:
    """A cache that notes which shards are fetched."""

    limit: int
    fetched: Queue[int] = field(default_factory=Queue)
    kept: list[set[int]] = field(default_factory=list)
    broken: bool = False

    def fetch(self, remote: RemoteFile) -> None:
        self.fetched.put(int(remote.url))
        if self.broken:
            raise RemoteFailed("the server is away")

    def keep(self, remotes: list[RemoteFile]) -> None:
        self.kept.append({int(remote.url) for remote in remotes})


@dataclass(frozen=True)
class Data:
    shards: tuple[RemoteShard, ...]

    @property
    def shard_starts(self) -> np.ndarray:
        return np.arange(SHARDS + 1) * EACH

    def __len__(self) -> int:
        return SHARDS * EACH

    def __getitem__(self, index: int) -> Sample:
        return Sample(f"{index:03d}", ("a",), Path("none"))


def samples(cache: Any, window: int | None = 1) -> Samples:
    shards = tuple(RemoteShard(RemoteFile(str(number), 100, ""), cache) for number in range(SHARDS))
    common = DatasetCommon(num_samples=None, train_split=1.0, shuffle_window=window)
    return choose(Data(shards), common, seed=1)[0]


def micro_batches() -> Iterator[list[int]]:
    return (list(range(start, start + BATCH)) for start in range(0, SHARDS * EACH, BATCH))


def read_in_order(made: Samples) -> list[int]:
    return list(dict.fromkeys((made.indices[made.order.visits(range(SHARDS * EACH))[1]] // EACH).tolist()))


def test_as_many_shards_as_fit_are_downloaded_in_the_order_of_need() -> None:
    made = samples(cache := Cache(limit=450))
    remote, expected = RemoteShards.of(made), read_in_order(made)
    assert remote is not None and len(expected) == SHARDS
    with ShardsAhead(remote, micro_batches()) as ahead:
        first = [cache.fetched.get(timeout=10) for _ in range(3)]
        taken = ahead.counted(iter(range(SHARDS * EACH // BATCH)))
        assert sorted(first) == sorted(expected[:3])
        with pytest.raises(Empty):
            cache.fetched.get(timeout=0.05)
        for place in range(3, SHARDS):
            for _ in range(EACH // BATCH):
                next(taken)
            assert cache.fetched.get(timeout=10) == expected[place]
            assert expected[place] in cache.kept[-1] and expected[place - 3] not in cache.kept[-1]


def test_a_failing_download_is_left_to_the_reader() -> None:
    made = samples(cache := Cache(limit=10_000, broken=True))
    remote = RemoteShards.of(made)
    assert remote is not None
    with ShardsAhead(remote, micro_batches()) as ahead:
        assert sorted(cache.fetched.get(timeout=10) for _ in range(SHARDS)) == list(range(SHARDS))
        assert list(ahead.counted(iter("abc"))) == ["a", "b", "c"]


def test_positions_name_the_shards_they_need() -> None:
    made = samples(Cache(limit=450), window=None)
    remote = RemoteShards.of(made)
    assert remote is not None
    found = [int(made.dataset[int(made.indices[place])].key) // EACH for place in made.order.visits(range(BATCH))[1]]
    assert remote.needed(range(BATCH)) == list(dict.fromkeys(found))


def test_any_order_over_more_than_the_cache_holds_is_noted() -> None:
    notice = RemoteShards.of(samples(Cache(limit=450), window=None))
    assert notice is not None and "more than cache.shards_gb=4.5e-07 holds" in (notice.notice() or "")
    for limit, window in ((800, None), (450, 2)):
        remote = RemoteShards.of(samples(Cache(limit=limit), window=window))
        assert remote is not None and remote.notice() is None
