"""The benchmarks that train: budgets, kept results and verdicts, without any training."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from math import isnan, sqrt
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in ("measuring", "cells", "ablation", "time_to_quality"):
        sys.modules.pop(name, None)


def score(step: int, above_chance: float) -> Any:
    from cells import Score

    return Score(step, 3.0, True, above_chance, above_chance, 0.0)


@pytest.mark.parametrize(("seconds", "cost", "steps"), [(120, 0.5, 240), (120, 0.51, 230), (1, 0.5, 10)])
def test_a_budget_is_whole_tenths_of_steps_that_fit(seconds: float, cost: float, steps: int) -> None:
    from budgets import steps_within

    assert steps_within(seconds, cost) == steps


def test_results_of_something_else_do_not_count(tmp_path: Path) -> None:
    from cells import Results

    results = Results(tmp_path)
    results.write("race/ours/1", {"steps": 10}, [1, 2])
    assert results.read("race/ours/1", {"steps": 10}) == [1, 2]
    assert results.read("race/ours/1", {"steps": 20}) is None
    assert results.read("race/ours/2", {"steps": 10}) is None


def test_spread_is_pooled_within_groups() -> None:
    from ablation import spread, standard_error

    assert spread([[1.0, 3.0], [10.0, 14.0], [99.0]]) == pytest.approx(sqrt((2 + 8) / 2))
    assert isnan(spread([[1.0], [2.0]]))
    assert standard_error(2.0, 1, 4) == pytest.approx(sqrt(5))


def test_differences_within_the_noise_are_repeated() -> None:
    from ablation import WHOLE, unclear

    whole = [score(10, value) for value in (0.50, 0.52, 0.54)]
    found = {WHOLE: whole, "near": [score(10, 0.50)], "far": [score(10, 0.40)]}
    assert unclear(found) == ["near"]


def test_the_best_learning_rate_has_the_best_score() -> None:
    from time_to_quality import best_rate

    assert best_rate({1e-4: score(10, 0.1), 1e-3: score(10, 0.3), 1e-2: score(10, 0.2)}) == 1e-3
    assert best_rate({}) is None


COST = {"ours": 0.5, "PixArt, DDPM": 1.0}


@pytest.mark.parametrize(
    ("ours", "rival", "expected"),
    [
        ([(60, 0.1), (120, 0.4)], [(150, 0.35), (300, 0.3)], [(False, "passes it by 60 s")]),
        ([(60, 0.1), (120, 0.4)], [(150, 0.2), (300, 0.35)], [(True, "passes it by 60 s")]),
        ([(60, 0.1), (120, 0.2)], [(150, 0.2), (300, 0.35)], [(False, "does not reach it")]),
        ([(60, 0.1), (600, 0.4)], [(150, 0.02), (300, 0.05)], [(True, "at equal time 40.0%")]),
    ],
)
def test_ours_passes_the_rivals_best_in_a_fifth_of_its_time(
    ours: list[tuple[int, float]], rival: list[tuple[int, float]], expected: list[tuple[bool, str]]
) -> None:
    from time_to_quality import SEEDS, verdicts

    curves = {
        "ours": {seed: [score(*point) for point in ours] for seed in SEEDS},
        "PixArt, DDPM": {seed: [score(*point) for point in rival] for seed in SEEDS},
    }
    for (passed, text), (wanted, part) in zip(verdicts(curves, COST), expected * 2, strict=True):
        assert passed is wanted
        assert part in text


def test_models_of_another_size_do_not_race() -> None:
    from time_to_quality import check_sizes

    check_sizes({"ours": 100, "one": 91, "other": 109})
    with pytest.raises(SystemExit, match="one"):
        check_sizes({"ours": 100, "one": 89})
