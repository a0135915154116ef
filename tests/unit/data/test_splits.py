"""Splits: decided by keys, stable when samples come and go."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_run.data.splits import split
from dit_run.problems import InputError

KEYS = st.lists(st.text(max_size=8), unique=True, min_size=2, max_size=60)
SEEDS = st.integers(0, 2**63 - 1)
SHARES = st.floats(0.01, 1)


def named(keys, chosen):
    return [keys[index] for index in chosen]


def test_golden_split():
    keys = [f"image_{number}.jpg" for number in range(12)]
    train, validation = split(keys, seed=42, num_samples=8, train_split=0.6)
    assert (train.tolist(), validation.tolist()) == ([11, 6, 8], [2, 1, 10, 0, 3])


@given(KEYS, SEEDS, SHARES)
def test_every_sample_is_on_exactly_one_side(keys, seed, share):
    train, validation = split(keys, seed=seed, num_samples=None, train_split=share)
    assert sorted([*train, *validation]) == list(range(len(keys)))


@given(KEYS, SEEDS, SHARES, st.randoms())
def test_the_order_of_the_dataset_does_not_matter(keys, seed, share, random):
    shuffled = random.sample(keys, len(keys))
    first = split(keys, seed=seed, num_samples=5, train_split=share)
    second = split(shuffled, seed=seed, num_samples=5, train_split=share)
    assert [named(keys, side) for side in first] == [named(shuffled, side) for side in second]


@given(KEYS, SEEDS, st.integers(1, 30))
def test_more_samples_contain_fewer(keys, seed, count):
    fewer = split(keys, seed=seed, num_samples=count, train_split=1.0).train
    more = split(keys, seed=seed, num_samples=count + 3, train_split=1.0).train
    assert len(fewer) == min(count, len(keys))
    assert more[: len(fewer)].tolist() == fewer.tolist()


@given(KEYS, SEEDS, st.floats(0.01, 0.99))
def test_neither_side_of_a_split_is_empty(keys, seed, share):
    train, validation = split(keys, seed=seed, num_samples=None, train_split=share)
    assert len(train) and len(validation)


@given(KEYS, SEEDS)
def test_a_whole_share_holds_out_nothing(keys, seed):
    assert len(split(keys, seed=seed, num_samples=None, train_split=1.0).validation) == 0


def test_a_single_sample_is_trained_on():
    train, validation = split(["one"], seed=0, num_samples=None, train_split=0.5)
    assert (train.tolist(), validation.tolist()) == ([0], [])


def test_no_samples_make_two_empty_sides():
    train, validation = split([], seed=0, num_samples=None, train_split=0.5)
    assert (len(train), len(validation)) == (0, 0)


def test_sides_stay_when_samples_come_and_seeds_change():
    keys = [str(number) for number in range(2000)]
    small = split(keys[:1000], seed=1, num_samples=None, train_split=0.9)
    large = split(keys, seed=2, num_samples=None, train_split=0.9)
    assert set(small.validation) <= set(large.validation)


def test_another_seed_chooses_other_samples():
    keys = [str(number) for number in range(100)]
    first, second = (set(split(keys, seed=seed, num_samples=50, train_split=1.0).train) for seed in (1, 2))
    assert 10 < len(first & second) < 40


def test_shares_are_about_right_and_independent_of_the_choice():
    keys = [f"{number:012d}.jpg" for number in range(20_000)]
    train, _ = split(keys, seed=0, num_samples=10_000, train_split=0.8)
    assert abs(len(train) - 8000) < 200


def test_a_repeated_key_is_refused():
    with pytest.raises(InputError, match="samples 1 and 3 of the dataset have the same key"):
        split(["a", "b", "c", "b"], seed=0, num_samples=None, train_split=1.0)


def test_a_file_name_that_is_no_unicode_is_a_key_like_any():
    assert len(split(["caf\udce9.jpg", "a"], seed=0, num_samples=None, train_split=1.0).train) == 2


def test_indices_are_int64():
    assert split(["a"], seed=0, num_samples=None, train_split=1.0).train.dtype == np.int64


@pytest.mark.slow
def test_a_million_keys_take_seconds():
    train, validation = split(
        (f"train2017/{number:012d}.jpg" for number in range(1_000_000)), seed=0, num_samples=None, train_split=0.9
    )
    assert abs(len(validation) - 100_000) < 1500 and len(train) + len(validation) == 1_000_000
