"""Functions of the step, such as the factor of a learning rate and the share of an average: checks of their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dit_run.testing.contract_error import Subject

__all__ = ["expect_no_memory", "expect_unit_values"]


def expect_unit_values(
    subject: Subject, function: Callable[[int], Any], steps: Sequence[int], *, noun: str, of: str = "", advice: str
) -> None:
    """Fail unless the value of each step, a ``noun``, is a float from 0 to 1."""
    for step in steps:
        value = function(step)
        subject.expect(
            isinstance(value, float | int) and not isinstance(value, bool),
            f"the {noun} of step {step} is {value!r}; return a float",
        )
        subject.expect(0 <= value <= 1, f"the {noun} of step {step}{of} is {value:g}; return 0 to 1, {advice}")


def expect_no_memory(
    subject: Subject, make: Callable[[], Callable[[int], Any]], steps: Sequence[int], *, noun: str, advice: str
) -> None:
    """Fail unless the value of a step is the same for calls in order and in reverse."""
    one, other = make(), make()
    forwards = [one(step) for step in steps]
    backwards = [other(step) for step in reversed(steps)][::-1]
    for step, first, second in zip(steps, forwards, backwards, strict=True):
        subject.expect(
            first == second,
            f"the {noun} of step {step} is {first:g} for calls in order and {second:g} in reverse; compute it from the "
            f"step alone, {advice}",
        )
