"""Order: permutations laid end to end, computed at any place; captions; the length of a run."""

from __future__ import annotations

import collections

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_run.compute.random_streams import MAX_SEED
from dit_run.data.order import Order, RunLength
from dit_run.data.permutation import permute

SIZES = st.integers(1, 300)
SEEDS = st.integers(0, MAX_SEED)


def test_golden_order():
    epochs, indices = Order(10, 42).visits(range(20))
    assert epochs.tolist() == [0] * 10 + [1] * 10
    assert indices.tolist() == [4, 6, 0, 8, 3, 1, 5, 2, 7, 9, 9, 2, 4, 8, 0, 5, 3, 7, 6, 1]
    assert Order(10**7, MAX_SEED).visits([0, 1, 2, 10**12])[1].tolist() == [5380216, 7750839, 9769388, 1758196]
    assert Order(3, 1).captions(range(6), [0] * 6, [3] * 6).tolist() == [1, 2, 0, 0, 1, 2]


@given(SIZES, st.integers(0, 2**64 - 1))
def test_every_key_names_a_permutation(size, key):
    assert sorted(permute(np.arange(size), size, key)) == list(range(size))


@given(SIZES, SEEDS, st.integers(0, 50))
def test_each_epoch_visits_every_sample_once(size, seed, epoch):
    epochs, indices = Order(size, seed).visits(np.arange(epoch * size, (epoch + 1) * size))
    assert set(epochs.tolist()) == {epoch}
    assert sorted(indices) == list(range(size))


@given(SIZES, SEEDS, st.lists(st.integers(0, 2**40), min_size=1, max_size=20))
def test_a_position_is_the_same_alone_and_in_company(size, seed, positions):
    order = Order(size, seed)
    assert order.visits(positions)[1].tolist() == [int(order.visits([one])[1][0]) for one in positions]


@given(st.integers(2, 100), SEEDS)
def test_stand_ins_are_the_samples_that_come_next_in_the_epoch(size, seed):
    order = Order(size, seed)
    epoch = order.visits(range(size))[1].tolist()
    assert [int(order.visits([size - 2], attempt)[1][0]) for attempt in range(size)] == epoch[-2:] + epoch[:-2]


@given(st.integers(1, 12), SEEDS, st.integers(0, 1000))
def test_all_captions_are_shown_before_any_repeats(count, seed, turn):
    epochs = np.arange(turn * count, (turn + 1) * count)
    assert sorted(Order(50, seed).captions(epochs, 17, count)) == list(range(count))


def test_samples_begin_with_different_captions():
    shown = Order(1000, 0).captions(0, np.arange(1000), 5)
    assert np.bincount(shown, minlength=5).min() > 150


def test_small_permutations_are_all_about_equally_likely():
    keys = np.arange(24_000, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    drawn = np.stack([permute(place, 4, keys) for place in range(4)], axis=1)
    counts = collections.Counter(map(tuple, drawn.tolist()))
    assert len(counts) == 24
    assert min(counts.values()) > 850 and max(counts.values()) < 1150


def test_epochs_differ_and_places_are_uncorrelated():
    first, second = Order(5000, 3).visits(range(10_000))[1].reshape(2, 5000)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05
    assert abs(np.corrcoef(first, np.arange(5000))[0, 1]) < 0.05


def test_an_index_outside_is_refused():
    with pytest.raises(ValueError, match="outside"):
        permute([0, 5], 5, 1)


@pytest.mark.parametrize(("size", "seed"), [(0, 0), (1, -1), (1, MAX_SEED + 1)])
def test_an_order_that_cannot_be_is_refused(size, seed):
    with pytest.raises(ValueError, match="an order has at least one sample"):
        Order(size, seed)


def test_a_run_is_as_long_as_its_epochs_rounded_up():
    assert RunLength(size=10, global_batch=4, epochs=3).total_steps == 8
    assert RunLength(size=10, global_batch=5, epochs=3).total_steps == 6


def test_max_steps_ends_a_run_earlier_but_never_later():
    assert RunLength(size=10, global_batch=4, epochs=3, max_steps=5).total_steps == 5
    assert RunLength(size=10, global_batch=4, epochs=3, max_steps=50).total_steps == 8


def test_a_step_that_straddles_two_epochs_completes_the_first():
    plan = RunLength(size=10, global_batch=4, epochs=3)
    assert [plan.completed_epochs(steps) for steps in range(9)] == [0, 0, 0, 1, 1, 2, 2, 2, 3]
    assert [plan.first_step_completing(epochs) for epochs in (1, 2, 3)] == [3, 5, 8]
    assert [step for step in range(1, 9) if plan.completes_every(step, 2)] == [5]


@given(st.integers(1, 50), st.integers(1, 120), st.integers(1, 7), st.integers(1, 6))
def test_every_n_epochs_is_the_first_step_that_completes_them(size, global_batch, epochs, every):
    plan = RunLength(size, global_batch, epochs * every)
    firsts = {plan.first_step_completing(every * turn) for turn in range(1, epochs + 1)}
    assert firsts == {step for step in range(1, plan.total_steps + 1) if plan.completes_every(step, every)}


def test_a_batch_larger_than_the_data_completes_several_epochs_in_a_step():
    plan = RunLength(size=3, global_batch=10, epochs=10)
    assert plan.total_steps == 3
    assert plan.completed_epochs(1) == 3


@pytest.mark.parametrize("weights", [(1.0, 3.0), (5.0, 1.0, 2.0), (0.001, 0.999), (2.0,)])
def test_weighted_captions_have_their_shares_in_every_window(weights: tuple[float, ...]) -> None:
    order = Order(10, seed=3)
    for index in (0, 7):
        shown = np.array([order.weighted_caption(epoch, index, weights) for epoch in range(1200)])
        for window in (slice(0, 200), slice(500, 700), slice(0, 1200)):
            counts = np.bincount(shown[window], minlength=len(weights))
            expected = len(shown[window]) * np.array(weights) / sum(weights)
            assert np.abs(counts - expected).max() <= 4


def test_weighted_captions_start_elsewhere_for_each_sample_and_seed() -> None:
    def first(seed: int) -> list[int]:
        return [Order(40, seed).weighted_caption(0, index, (1.0, 1.0)) for index in range(40)]

    assert 8 < sum(first(1)) < 32
    assert first(1) != first(2)
