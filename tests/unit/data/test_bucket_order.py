"""Order with buckets: every place of every bucket once, shares that stay true, and no walk."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from groupings import size_numbers
from hypothesis import given, settings
from hypothesis import strategies as st

from dit_run.assembly.layout import Layout
from dit_run.compute.random_streams import MAX_SEED
from dit_run.data.bucket_order import TURN, BucketOrder
from dit_run.data.grouping import Grouping

COUNTS = st.lists(st.integers(0, 60), min_size=1, max_size=6).filter(any)
few = settings(max_examples=25)
SEEDS = st.integers(0, MAX_SEED)
BATCHES = st.integers(1, 9)


def order(counts: list[int], seed: int = 1, batch_size: int = 4) -> BucketOrder:
    """Return the order of buckets with these numbers of samples, the samples in no order of buckets."""
    buckets = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    return BucketOrder(len(buckets), seed, Grouping.of(buckets), batch_size)


def batches_of(made: BucketOrder, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for batch in range(count):
        yield made.visits(range(batch * made.batch_size, (batch + 1) * made.batch_size))


def test_golden_order() -> None:
    made = BucketOrder(5, 42, Grouping.of(np.array([0, 1, 0, 1, 1])), 2)
    assert [made.block(batch) for batch in range(6)] == [(0, 0), (1, 0), (1, 1), (1, 2), (1, 3), (0, 1)]
    epochs, indices = made.visits(range(12))
    assert epochs.tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 1, 1]
    assert indices.tolist() == [2, 0, 1, 3, 4, 3, 4, 1, 3, 4, 2, 0]
    assert made.block(10**12) == (0, 400000000000)


@few
@given(COUNTS, SEEDS, BATCHES)
def test_a_micro_batch_has_one_bucket(counts: list[int], seed: int, batch_size: int) -> None:
    made = order(counts, seed, batch_size)
    for _, indices in batches_of(made, 40):
        assert len(set(size_numbers(made.grouping)[indices])) == 1


@few
@given(COUNTS, SEEDS, BATCHES)
def test_no_visit_is_dropped_or_repeated(counts: list[int], seed: int, batch_size: int) -> None:
    """Every sample of a bucket is visited before one of them is visited again, at any time."""
    made = order(counts, seed, batch_size)
    seen = np.zeros(made.size, dtype=np.int64)
    for epochs, indices in batches_of(made, 2 * TURN):
        for epoch, index in zip(epochs.tolist(), indices.tolist(), strict=True):
            assert seen[index] == epoch
            seen[index] += 1
            others = seen[size_numbers(made.grouping) == size_numbers(made.grouping)[index]]
            assert others.max() - others.min() <= 1


@few
@given(COUNTS, SEEDS, st.integers(1, 20))
def test_at_the_end_of_a_turn_each_bucket_has_had_its_share(counts: list[int], seed: int, turns: int) -> None:
    made = order(counts, seed)
    shares = [turns * TURN * count // sum(counts) for count in counts if count]
    blocks = [made.block(batch) for batch in range(sum(shares) - 40, sum(shares))] if sum(shares) > 40 else []
    for bucket, block in blocks:
        assert block < shares[bucket]
    bucket, block = made.block(sum(shares))
    assert block >= shares[bucket]


@few
@given(COUNTS, SEEDS, st.integers(0, 2000))
def test_shares_stay_true_in_every_window(counts: list[int], seed: int, first: int) -> None:
    made, window = order(counts, seed), 3 * TURN
    present = [count for count in counts if count]
    taken = np.bincount([made.block(batch)[0] for batch in range(first, first + window)], minlength=len(present))
    for count, found in zip(present, taken.tolist(), strict=True):
        share = count / sum(counts)
        assert abs(found - window * share) <= 2 * min(share, 1 - share) * TURN + 2 + len(present)


@few
@given(COUNTS, SEEDS, BATCHES, st.lists(st.integers(0, 2**40), min_size=1, max_size=12))
def test_a_position_is_the_same_alone_and_in_company(
    counts: list[int], seed: int, batch_size: int, positions: list[int]
) -> None:
    made = order(counts, seed, batch_size)
    together = made.visits(positions)
    for place, position in enumerate(positions):
        alone = made.visits([position])
        assert (alone[0][0], alone[1][0]) == (together[0][place], together[1][place])


@few
@given(COUNTS, SEEDS, BATCHES)
def test_one_two_and_four_processes_take_the_same_micro_batches(counts: list[int], seed: int, batch_size: int) -> None:
    made = order(counts, seed, batch_size)
    taken = []
    for processes in (1, 2, 4):
        ranks = [Layout(batch_size, 4 // processes, processes, rank).micro_batches(0, 5) for rank in range(processes)]
        positions = sorted(itertools.chain.from_iterable(ranks))
        taken.append([made.visits(each)[1].tolist() for each in positions])
    assert len(taken[0]) == 20
    assert taken[0] == taken[1] == taken[2]


@few
@given(COUNTS, SEEDS, st.integers(0, 500))
def test_replacements_are_the_other_samples_of_the_bucket(counts: list[int], seed: int, position: int) -> None:
    made = order(counts, seed)
    (first,) = made.visits([position])[1]
    members = np.flatnonzero(size_numbers(made.grouping) == size_numbers(made.grouping)[first])
    assert sorted(int(made.visits([position], attempt)[1][0]) for attempt in range(len(members))) == members.tolist()


def test_another_seed_gives_another_order_of_buckets_and_samples() -> None:
    one, other = ([order([40, 50], seed).block(batch) for batch in range(20)] for seed in (1, 2))
    assert one != other


def test_a_distant_micro_batch_takes_no_walk() -> None:
    made = order([10**5, 3 * 10**5, 7, 0, 5], batch_size=16)
    _, indices = made.visits(range(16 * 10**11, 16 * 10**11 + 16))
    assert len(set(size_numbers(made.grouping)[indices])) == 1


def test_every_order_of_a_turn_differs() -> None:
    made = order([32, 32])
    turns = [tuple(made.block(turn * TURN + place)[0] for place in range(TURN)) for turn in range(20)]
    assert len(set(turns)) == 20


def test_an_order_without_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        BucketOrder(0, 0, Grouping.of(np.zeros(0, dtype=np.int64)), 4)
