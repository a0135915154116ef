"""Rules of averages: each has a name of its own, and a continued run keeps those that it began with."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dit_run import Config
from dit_run.config.comparison import changes
from dit_run.problems import Problem

Load = Callable[..., Config]


@pytest.mark.parametrize(
    ("text", "message", "index"),
    [
        (
            "training: {use_ema: true}\naverages: [{type: ema, name: ema}]\n",
            "two averages of this run have the name 'ema'",
            0,
        ),
        (
            "averages: [{type: ema}, {type: ema}, {type: ema, name: ema_2}]\n",
            "two averages of this run have the name 'ema_2'",
            2,
        ),
    ],
)
def test_a_name_that_is_taken(problems: Callable[..., list[Problem]], text: str, message: str, index: int) -> None:
    (problem,) = problems(text)
    assert (problem.code, problem.message, problem.path) == ("named-twice", message, ("averages", index, "name"))


@pytest.mark.parametrize("name", ["../a", "", ".a", "a b"])
def test_a_name_that_is_no_file_name(problems: Callable[..., list[Problem]], name: str) -> None:
    (problem,) = problems(f"averages: [{{type: ema, name: '{name}'}}]\n")
    assert problem.path == ("averages", 0, "name")


def test_a_run_begun_before_there_were_averages_had_none(load: Load) -> None:
    config = load("")
    before = {name: value for name, value in config.to_dict().items() if name != "averages"}
    assert changes(before, config).refused == []
    (change,) = changes(before, load("averages: [{type: ema}]\n")).refused
    assert change.path == ("averages",)
