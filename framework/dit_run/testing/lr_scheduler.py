"""The contract of a learning-rate scheduler."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from dit_run.registry.components import Component, Kind
from dit_run.testing.contract_error import Check, Subject, check_all

__all__ = ["CHECKS", "check_lr_scheduler"]

_TOTAL = 1000
_PEAK = 1e-3


def check_lr_scheduler(component: Component | str | Path, **options: Any) -> None:
    """Test a learning-rate scheduler with these options over a run of 1000 steps.

    ``component`` is a Component, the type of an installed one, or the path of a plugin file. Raises ContractError.
    """
    check_all(Subject.of(Kind.LR_SCHEDULER, component, options), CHECKS)


def _make(subject: Subject) -> Any:
    return subject.make(total_steps=_TOTAL, learning_rate=_PEAK)


def gives_a_factor_for_every_step(subject: Subject) -> None:
    """Check that the factor of each step is a float from 0 to 1."""
    factor = _make(subject)
    subject.expect(
        callable(factor),
        f"the factory returned {type(factor).__name__}; return a function of the step, such as functools.partial(...)",
    )
    for step in range(_TOTAL):
        value = factor(step)
        subject.expect(
            isinstance(value, float | int) and not isinstance(value, bool),
            f"the factor of step {step} is {value!r}; return a float",
        )
        subject.expect(
            math.isfinite(value) and 0 <= value <= 1,
            f"the factor of step {step} of {_TOTAL} is {value:g}; "
            "return 0 to 1, because it multiplies the peak learning rate",
        )


def is_a_function_of_the_step(subject: Subject) -> None:
    """Check that the factor of a step does not depend on the order of the calls."""
    one, other = _make(subject), _make(subject)
    forwards = [one(step) for step in range(_TOTAL)]
    backwards = [other(step) for step in reversed(range(_TOTAL))][::-1]
    for step, (first, second) in enumerate(zip(forwards, backwards, strict=True)):
        subject.expect(
            first == second,
            f"the factor of step {step} is {first:g} for calls in order and {second:g} in reverse; "
            "compute it from the step alone, and do not count calls",
        )


def is_not_always_zero(subject: Subject) -> None:
    """Check that the factor of at least one step is above 0."""
    factor = _make(subject)
    subject.expect(
        any(factor(step) > 0 for step in range(_TOTAL)),
        f"the factor of all {_TOTAL} steps is 0, so the model would learn nothing; return 1 for the peak learning rate",
    )


CHECKS: tuple[Check, ...] = (gives_a_factor_for_every_step, is_a_function_of_the_step, is_not_always_zero)
