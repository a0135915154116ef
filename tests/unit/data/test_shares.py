"""Shares: exact in every window, complete, and found without a walk."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dit_run.data.shares import Shares

few = settings(max_examples=40)
WEIGHTS = st.lists(st.fractions(Fraction(1, 500), 500, max_denominator=500), min_size=1, max_size=7)
THOUSANDTHS = st.lists(st.integers(1, 300), min_size=1, max_size=6).filter(lambda parts: sum(parts) < 1000)


def shares(*weights: Fraction | int) -> Shares:
    return Shares(tuple(map(Fraction, weights)))


def choices(made: Shares, first: int, count: int) -> list[int]:
    return [made.at(turn)[0] for turn in range(first, first + count)]


def test_golden_order() -> None:
    assert choices(shares(2, 1), 0, 6) == [1, 0, 0, 1, 0, 0]
    assert choices(shares(1, 1, 2), 0, 8) == [2, 1, 2, 0, 2, 1, 2, 0]
    assert shares(2, 1).at(10**18) == (0, 666666666666666666)


@few
@given(THOUSANDTHS, st.integers(0, 10**12))
def test_every_window_of_1000_has_exactly_the_shares_in_thousandths(parts: list[int], first: int) -> None:
    weights = [*parts, 1000 - sum(parts)]
    found = choices(shares(*weights), first, 1000)
    assert [found.count(number) for number in range(len(weights))] == weights


@few
@given(st.fractions(Fraction(1, 999), Fraction(998, 999)), st.integers(0, 10**12))
def test_one_of_two_has_its_share_of_every_window_rounded_down_or_up(share: Fraction, first: int) -> None:
    count = choices(shares(share, 1 - share), first, 1000).count(0)
    assert int(1000 * share) <= count <= int(1000 * share) + 1


@few
@given(WEIGHTS, st.integers(0, 10**9))
def test_in_every_window_of_1000_no_choice_is_three_away_from_its_share(weights: list[Fraction], first: int) -> None:
    found = choices(shares(*weights), first, 1000)
    for number, weight in enumerate(weights):
        assert abs(found.count(number) - 1000 * weight / sum(weights)) < 3


@few
@given(WEIGHTS, st.integers(0, 10**15))
def test_the_turns_of_a_choice_are_counted_one_by_one(weights: list[Fraction], first: int) -> None:
    made, seen = shares(*weights), dict[int, int]()
    for turn in range(first, first + 200):
        choice, before = made.at(turn)
        assert seen.setdefault(choice, before) == before
        seen[choice] += 1


def test_the_count_of_a_choice_begins_with_zero() -> None:
    made = shares(3, 2, 2)
    firsts = {choice: before for choice, before in reversed([made.at(turn) for turn in range(20)])}
    assert firsts == {0: 0, 1: 0, 2: 0}


@pytest.mark.parametrize("weights", [(), (1, 0), (1, -1)])
def test_weights_that_give_no_share_are_refused(weights: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="weights above 0"):
        shares(*weights)
