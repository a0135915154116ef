"""Rules of objectives: one acts in every step, and each acts in some."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dit_run import Config
from dit_run.config.comparison import changes
from dit_run.problems import Problem

Load = Callable[..., Config]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{until: 0.4}", "no objective acts between the shares 0.4 and 1 of the run"),
        ("[{start: 0.2}, {until: 0.1}]", "no objective acts between the shares 0.1 and 0.2 of the run"),
        ("[{start: 0.5}]", "no objective acts between the shares 0 and 0.5 of the run"),
    ],
)
def test_a_part_of_the_run_without_an_objective(
    problems: Callable[..., list[Problem]], text: str, message: str
) -> None:
    (problem,) = problems(f"objective: {text}\n")
    assert (problem.code, problem.message) == ("nothing-to-train", message)


def test_an_objective_that_never_acts(problems: Callable[..., list[Problem]]) -> None:
    (problem,) = problems("objective: [{weight: 2}, {start: 0.5, until: 0.5}]\n")
    assert problem.code == "never-acts"
    assert problem.path == ("objective", 1, "until")


def test_objectives_may_take_turns_and_overlap(load: Load) -> None:
    load("objective: [{start: 0.6}, {until: 0.4}, {start: 0.3, until: 0.7}]\n")


def test_a_run_begun_before_there_were_objectives_had_the_default(load: Load) -> None:
    config = load("")
    before = {name: value for name, value in config.to_dict().items() if name != "objective"}
    assert changes(before, config).refused == []
    (change,) = changes(before, load("objective: {weight: 2}\n")).refused
    assert change.path == ("objective",)


def test_weights_and_shares_may_change_when_a_run_continues(load: Load) -> None:
    found = changes(load("").to_dict(), load("objective: {weight: 2}\n"))
    assert found.refused == []
    assert [change.path for change in found.noted] == [("objective", "weight")]
