"""Orders in windows of shards: every sample once per epoch, few shards at a time, any place alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dit_run.compute.random_streams import MAX_SEED
from dit_run.data.bucket_order import TURN, BucketOrder
from dit_run.data.grouping import Grouping
from dit_run.data.mixture_order import MixtureOrder
from dit_run.data.order import Order
from dit_run.data.samples import choose
from dit_run.data.shard_windows import SampleShards, ShardWindows
from dit_run.problems import InputError
from dit_run.protocols import DatasetPart, Sample
from dit_run.registry.kind_options import DatasetCommon

COUNTS = st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any)
WINDOWS = st.integers(1, 14)
SEEDS = st.integers(0, MAX_SEED)
few = settings(max_examples=40)


def starts(counts: list[int]) -> np.ndarray:
    return np.cumsum([0, *counts])


def shards(counts: list[int], window: int) -> SampleShards:
    return SampleShards(np.arange(sum(counts)), (ShardWindows(window, starts(counts)),))


def order(counts: list[int], window: int, seed: int = 1) -> Order:
    return Order(sum(counts), seed, shards=shards(counts, window))


def shard_of(counts: list[int], indices: np.ndarray) -> np.ndarray:
    return np.searchsorted(starts(counts)[1:], indices, side="right")


def test_golden_order() -> None:
    made = order([3, 2, 0, 4], 2, 42)
    assert made.visits(range(9))[1].tolist() == [7, 3, 8, 4, 5, 6, 0, 2, 1]
    assert made.visits(range(9, 18))[1].tolist() == [1, 0, 2, 6, 3, 5, 4, 8, 7]
    large = Order(10**6, 1, shards=shards([1000] * 1000, 8))
    assert large.visits([0, 1, 10**12])[1].tolist() == [
        699322,
        421518,
        511898,
    ]


@few
@given(COUNTS, WINDOWS, SEEDS, st.integers(0, 9))
def test_each_epoch_visits_every_sample_once_and_a_window_few_shards(
    counts: list[int], window: int, seed: int, epoch: int
) -> None:
    size, made = sum(counts), order(counts, window, seed)
    epochs, indices = made.visits(np.arange(epoch * size, (epoch + 1) * size))
    assert set(epochs.tolist()) == {epoch}
    assert sorted(indices) == list(range(size))
    first = dict.fromkeys(shard_of(counts, indices).tolist())
    last = {shard: place for place, shard in enumerate(shard_of(counts, indices).tolist())}
    opened = [(next(p for p, s in enumerate(shard_of(counts, indices)) if s == shard), last[shard]) for shard in first]
    for place in range(size):
        assert sum(start <= place <= end for start, end in opened) <= window


@few
@given(COUNTS, WINDOWS, SEEDS, st.lists(st.integers(0, 2**40), min_size=1, max_size=9), st.integers(0, 3))
def test_a_position_is_the_same_alone_and_in_company(
    counts: list[int], window: int, seed: int, positions: list[int], attempt: int
) -> None:
    made = order(counts, window, seed)
    alone = [int(order(counts, window, seed).visits([one], attempt)[1][0]) for one in positions]
    assert made.visits(positions, attempt)[1].tolist() == alone


@few
@given(COUNTS, WINDOWS, st.integers(1, 5), st.integers(1, 4), SEEDS)
def test_buckets_are_visited_once_per_epoch_each(
    counts: list[int], window: int, batch_size: int, kinds: int, seed: int
) -> None:
    size = sum(counts)
    buckets = np.random.default_rng(0).integers(0, kinds, size)
    made = BucketOrder(size, seed, Grouping.of(buckets), batch_size, shards=shards(counts, window))
    epochs, indices = made.visits(range((3 * size + 2 * TURN) * batch_size))
    for bucket in np.unique(buckets).tolist():
        first = indices[(buckets[indices] == bucket) & (epochs == 0)]
        assert sorted(first) == np.flatnonzero(buckets == bucket).tolist()


def test_buckets_read_the_same_shards_at_the_same_time() -> None:
    counts, window = [1000] * 16, 4
    buckets = np.random.default_rng(0).choice(8, sum(counts), p=[0.3, 0.2, 0.15, 0.1, 0.1, 0.05, 0.05, 0.05])
    made = BucketOrder(sum(counts), 5, Grouping.of(buckets), 4, shards=shards(counts, window))
    _, indices = made.visits(range(sum(counts)))
    reads = [len(set(shard_of(counts, part).tolist())) for part in np.split(indices, 16)]
    assert np.mean(reads) <= 1.6 * window  # a window, and at its end the next one


def test_parts_of_a_mixture_have_their_own_windows() -> None:
    counts = [50] * 20
    parts = np.repeat([0, 1], 1000)
    windows = (ShardWindows(2, starts(counts)), None)
    indices = np.concatenate([np.arange(1000), 1000 + np.random.default_rng(0).permutation(1000)])
    weights = (Fraction(1), Fraction(3))
    grouping = Grouping.of(np.zeros_like(parts), parts)
    made = MixtureOrder(2000, 5, grouping, weights, shards=SampleShards(indices, windows))
    plain = MixtureOrder(2000, 5, grouping, weights)
    places = made.visits(range(4000))[1]
    assert sorted(places[places < 1000]) == list(range(1000))
    assert np.array_equal(places[places >= 1000], plain.visits(range(4000))[1][places >= 1000])
    for part in np.split(places[places < 1000], 10):
        assert len(set(shard_of(counts, part).tolist())) == 2


@dataclass(frozen=True)
class Data:
    """Samples in shards of some sizes."""

    counts: tuple[int, ...]

    @property
    def shard_starts(self) -> np.ndarray:
        return starts(list(self.counts))

    def __len__(self) -> int:
        return sum(self.counts)

    def __getitem__(self, index: int) -> Sample:
        return Sample(f"{index:05d}", ("a",), Path("none"))


@dataclass(frozen=True)
class Mixed:
    mixed_parts: tuple[DatasetPart, ...]

    def __len__(self) -> int:
        return sum(len(part.dataset) for part in self.mixed_parts)

    def __getitem__(self, index: int) -> Sample:
        raise AssertionError("keys are those of the parts")


COMMON = DatasetCommon(num_samples=None, train_split=0.8, shuffle_window=2)


def test_training_samples_are_read_in_windows_and_held_out_ones_are_not() -> None:
    data = Data((40,) * 10)
    train, validation = choose(data, COMMON, seed=3)
    flat, flat_validation = choose(data, replace(COMMON, shuffle_window=None), seed=3)
    assert validation is not None and flat_validation is not None
    assert set(train.indices.tolist()) == set(flat.indices.tolist())
    count = len(train)
    read = train.indices[train.order.visits(range(count))[1]]
    assert sorted(read) == sorted(train.indices)
    assert len(set((read[:40] // 40).tolist())) == 2
    assert validation.order.visits(range(50))[1].tolist() == flat_validation.order.visits(range(50))[1].tolist()
    few_left = replace(train, indices=train.indices[::3])
    assert sorted(few_left.order.visits(range(len(few_left)))[1]) == list(range(len(few_left)))


def test_windows_of_a_part_of_a_mixture() -> None:
    parts = (DatasetPart("a", Data((30,) * 5), 1.0, replace(COMMON, shuffle_window=None)),)
    parts += (DatasetPart("b", Data((20,) * 10), 1.0, COMMON),)
    train, _ = choose(Mixed(parts), COMMON, seed=3)  # type: ignore[arg-type]
    read = train.indices[train.order.visits(range(40))[1]]
    assert len(set(((read[read >= 150] - 150) // 20).tolist())) == 2


def test_data_without_shards_are_refused() -> None:
    class Folder:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> Sample:
            return Sample(str(index), ("a",), Path("none"))

    with pytest.raises(InputError, match=r"data\.shuffle_window is 2, but the samples do not lie in shards; set it to"):
        choose(Folder(), COMMON, seed=1)
    part = DatasetPart("icons", Folder(), 1.0, COMMON)
    with pytest.raises(InputError, match=r"the samples of part icons do not lie in shards"):
        choose(Mixed((part,)), COMMON, seed=1)  # type: ignore[arg-type]
