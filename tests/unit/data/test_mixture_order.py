"""The order of a mixture: exact shares, each sample of a part once before one repeats, one size per micro-batch."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np
from groupings import part_numbers, size_numbers
from hypothesis import given, settings
from hypothesis import strategies as st

from dit_run.compute.random_streams import MAX_SEED
from dit_run.data.grouping import Grouping
from dit_run.data.mixture_order import MixtureOrder, weights_of

few = settings(max_examples=25)
SEEDS = st.integers(0, MAX_SEED)


class Mix(NamedTuple):
    counts: list[tuple[int, int]]
    """Samples of each part: of size 0 and of size 1."""
    weights: list[int]

    def order(self, seed: int, batch_size: int = 0) -> MixtureOrder:
        parts = np.repeat(np.arange(len(self.counts)), [sum(each) for each in self.counts])
        sizes = np.concatenate([np.repeat([0, 1], each) for each in self.counts])
        mixed = np.random.default_rng(0).permutation(len(parts))
        weights = tuple(map(Fraction, self.weights))
        if not batch_size:
            return MixtureOrder(len(parts), seed, of_parts(parts[mixed]), weights)
        return MixtureOrder(len(parts), seed, Grouping.of(sizes[mixed], parts[mixed]), weights, batch_size)


def of_parts(parts: np.ndarray) -> Grouping:
    """Return the grouping of samples of one size."""
    return Grouping.of(np.zeros_like(parts), parts)


PART = st.tuples(st.integers(0, 20), st.integers(0, 20)).filter(any)
MIXES = st.lists(st.tuples(PART, st.integers(1, 9)), min_size=1, max_size=4).map(
    lambda rows: Mix([counts for counts, _ in rows], [weight for _, weight in rows])
)


def test_golden_order() -> None:
    made = MixtureOrder(5, 42, of_parts(np.array([0, 0, 0, 1, 1])), (Fraction(2), Fraction(1)))
    epochs, indices = made.visits(range(12))
    assert part_numbers(made.grouping)[indices].tolist() == [1, 0, 0] * 4
    assert epochs.tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2]
    assert indices.tolist() == [3, 1, 2, 4, 0, 1, 4, 0, 2, 3, 2, 1]
    assert [int(each[0]) for each in made.visits([10**15])] == [222222222222222, 2]


@few
@given(MIXES, SEEDS, st.integers(0, 10**9))
def test_without_sizes_every_window_of_1000_has_the_shares(mix: Mix, seed: int, first: int) -> None:
    made = mix.order(seed)
    _, indices = made.visits(range(first, first + 1000))
    counts = np.bincount(part_numbers(made.grouping)[indices], minlength=len(mix.weights))
    for count, weight in zip(counts.tolist(), mix.weights, strict=True):
        assert abs(count - 1000 * weight / sum(mix.weights)) < 3


@few
@given(MIXES, SEEDS, st.integers(1, 9), st.integers(0, 10**6))
def test_with_sizes_a_window_is_a_few_micro_batches_away_at_most(
    mix: Mix, seed: int, batch_size: int, first: int
) -> None:
    made = mix.order(seed, batch_size)
    _, indices = made.visits(range(first, first + 1000))
    counts = np.bincount(part_numbers(made.grouping)[indices], minlength=len(mix.weights))
    for count, weight in zip(counts.tolist(), mix.weights, strict=True):
        assert abs(count - 1000 * weight / sum(mix.weights)) < 2 * batch_size + 3


@few
@given(MIXES, SEEDS, st.integers(1, 9))
def test_a_micro_batch_has_one_size(mix: Mix, seed: int, batch_size: int) -> None:
    made = mix.order(seed, batch_size)
    for batch in range(60):
        _, indices = made.visits(range(batch * batch_size, (batch + 1) * batch_size))
        assert len(set(size_numbers(made.grouping)[indices].tolist())) == 1


@few
@given(MIXES, SEEDS, st.integers(0, 9))
def test_each_sample_of_a_part_and_size_is_visited_before_one_repeats(mix: Mix, seed: int, batch_size: int) -> None:
    made = mix.order(seed, batch_size)
    rows = part_numbers(made.grouping) * 2 + size_numbers(made.grouping)
    seen = np.zeros(made.size, dtype=np.int64)
    for epoch, index in zip(*(each.tolist() for each in made.visits(range(5 * made.size))), strict=True):
        assert seen[index] == epoch
        seen[index] += 1
        others = seen[rows == rows[index]]
        assert others.max() - others.min() <= 1


@few
@given(MIXES, SEEDS, st.integers(0, 9), st.lists(st.integers(0, 10**15), min_size=1, max_size=20))
def test_a_position_is_the_same_alone_and_in_company(
    mix: Mix, seed: int, batch_size: int, positions: list[int]
) -> None:
    made = mix.order(seed, batch_size)
    epochs, indices = made.visits(positions)
    alone = [made.visits([position]) for position in positions]
    assert [int(epoch[0]) for epoch, _ in alone] == epochs.tolist()
    assert [int(index[0]) for _, index in alone] == indices.tolist()


@few
@given(MIXES, SEEDS, st.integers(0, 10**6))
def test_replacements_are_the_other_samples_of_the_part(mix: Mix, seed: int, position: int) -> None:
    made = mix.order(seed)
    part = int(part_numbers(made.grouping)[made.visits([position])[1]][0])
    members = np.flatnonzero(part_numbers(made.grouping) == part)
    found = [int(made.visits([position], attempt)[1][0]) for attempt in range(len(members))]
    assert sorted(found) == members.tolist()


def test_another_seed_gives_another_order() -> None:
    mix = Mix([(20, 0), (20, 0)], [1, 1])
    assert mix.order(1).visits(range(40))[1].tolist() != mix.order(2).visits(range(40))[1].tolist()


def test_a_part_without_samples_here_takes_no_share() -> None:
    made = MixtureOrder(3, 0, of_parts(np.array([0, 0, 2])), weights_of([1.0, 8.0, 1.0]))
    _, indices = made.visits(range(10))
    assert sorted(set(indices.tolist())) == [0, 1, 2]


def test_weights_are_the_numbers_that_are_written() -> None:
    assert weights_of([0.1, 2.0, 1e-05]) == (Fraction(1, 10), Fraction(2), Fraction(1, 100_000))
