"""The contract of a learning-rate scheduler."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from dit_run.registry.components import Component, Kind
from dit_run.testing.contract_error import Check, Subject, check_all
from dit_run.testing.step_functions import expect_no_memory, expect_unit_values

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
    advice = "because it multiplies the peak learning rate"
    expect_unit_values(subject, factor, range(_TOTAL), noun="factor", of=f" of {_TOTAL}", advice=advice)


def is_a_function_of_the_step(subject: Subject) -> None:
    """Check that the factor of a step does not depend on the order of the calls."""
    advice = "and do not count calls"
    expect_no_memory(subject, partial(_make, subject), range(_TOTAL), noun="factor", advice=advice)


def is_not_always_zero(subject: Subject) -> None:
    """Check that the factor of at least one step is above 0."""
    factor = _make(subject)
    subject.expect(
        any(factor(step) > 0 for step in range(_TOTAL)),
        f"the factor of all {_TOTAL} steps is 0, so the model would learn nothing; return 1 for the peak learning rate",
    )


CHECKS: tuple[Check, ...] = (gives_a_factor_for_every_step, is_a_function_of_the_step, is_not_always_zero)
