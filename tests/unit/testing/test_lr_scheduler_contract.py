"""Learning-rate schedulers that break one promise each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from faults import Nothing, fault, keep

from dit_run.registry.components import Kind

KIND = Kind.LR_SCHEDULER


def build(options: Nothing, *, total_steps: int) -> Callable[[int], float]:
    return lambda step: 1 - step / total_steps


def test_a_straight_line_keeps_the_contract() -> None:
    keep(KIND, build)


def test_a_number_instead_of_a_function() -> None:
    assert fault(KIND, lambda options: 0.5) == (
        "the factory returned float; return a function of the step, such as functools.partial(...)"
    )


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (lambda step: "1", "the factor of step 0 is '1'; return a float"),
        (lambda step: step > 0, "the factor of step 0 is False; return a float"),
        (
            lambda step: math.nan,
            "the factor of step 0 of 1000 is nan; return 0 to 1, because it multiplies the peak learning rate",
        ),
        (
            lambda step: 1 - step / 500,
            "the factor of step 501 of 1000 is -0.002; return 0 to 1, because it multiplies the peak learning rate",
        ),
        (
            lambda step: step / 100,
            "the factor of step 101 of 1000 is 1.01; return 0 to 1, because it multiplies the peak learning rate",
        ),
        (
            lambda step: 0.0,
            "the factor of all 1000 steps is 0, so the model would learn nothing; return 1 for the peak learning rate",
        ),
    ],
)
def test_factors_that_are_none(factor: Callable[[int], Any], message: str) -> None:
    assert fault(KIND, lambda options: factor) == message


def test_one_that_counts_its_calls() -> None:
    class Counting:
        calls = 0

        def __call__(self, step: int) -> float:
            self.calls += 1
            return 1 / self.calls

    assert fault(KIND, lambda options: Counting()) == (
        "the factor of step 0 is 1 for calls in order and 0.001 in reverse; "
        "compute it from the step alone, and do not count calls"
    )
