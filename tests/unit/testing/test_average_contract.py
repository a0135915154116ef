"""Averages that break one promise each."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from faults import fault, keep, shown_plugin

from dit_run.registry.components import Kind
from dit_run.testing import check_average, check_plugin

KIND = Kind.AVERAGE


def test_an_average_of_all_steps_keeps_the_contract() -> None:
    keep(KIND, lambda options: lambda step: 1 / (step + 1))


def test_the_template_keeps_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "example.py"
    path.write_text(files("dit_run.templates").joinpath("average.py").read_text())
    check_average(path, start=3)


def counting() -> Callable[[int], float]:
    calls = count(1)
    return lambda step: 1 / next(calls)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda options: 0.5, "the factory returned float; return a function of the step"),
        (lambda options: lambda step: True, "the share of step 0 is True; return a float"),
        (lambda options: lambda step: 2 - step, "the share of step 0 is 2; return 0 to 1, the share of the new weigh"),
        (lambda options: lambda step: float("nan"), "the share of step 0 is nan; return 0 to 1"),
        (lambda options: counting(), "the share of step 0 is 1 for calls in order and 0.000998004 in reverse; comput"),
        (lambda options: lambda step: 0, "the share of all steps is 0, so the average would stay the initial weights"),
    ],
)
def test_a_broken_promise_is_named(factory: Callable[..., Any], message: str) -> None:
    assert fault(KIND, factory).startswith(message)


def test_the_plugin_of_the_manual_has_25_lines_and_keeps_the_contract(tmp_path: Path) -> None:
    test = 'check_average(Path("mean.py"), start=3)'
    path = shown_plugin("docs/averages.md", test, tmp_path / "mean.py")
    check_average(path, start=3)
    check_plugin(path)
