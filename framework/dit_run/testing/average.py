"""The contract of an average of the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dit_run.registry.components import Component, Kind
from dit_run.testing.contract_error import Check, Subject, check_all
from dit_run.testing.step_functions import expect_no_memory, expect_unit_values

__all__ = ["CHECKS", "check_average"]

_STEPS = (*range(1000), 10**6, 10**9)


def check_average(component: Component | str | Path, **options: Any) -> None:
    """Test an average with these options on the first 1000 steps and some late ones.

    ``component`` is a Component, the type of an installed one, or the path of a plugin file. Raises ContractError.
    """
    check_all(Subject.of(Kind.AVERAGE, component, options), CHECKS)


def gives_a_share_for_every_step(subject: Subject) -> None:
    """Check that the share of each step is a float from 0 to 1."""
    share = subject.make()
    subject.expect(callable(share), f"the factory returned {type(share).__name__}; return a function of the step")
    expect_unit_values(subject, share, _STEPS, noun="share", advice="the share of the new weights")


def is_a_function_of_the_step(subject: Subject) -> None:
    """Check that the share of a step does not depend on the order of the calls."""
    advice = "so that a continued run has the same average"
    expect_no_memory(subject, subject.make, _STEPS, noun="share", advice=advice)


def takes_new_weights(subject: Subject) -> None:
    """Check that the share of at least one step is above 0."""
    share = subject.make()
    subject.expect(
        any(share(step) > 0 for step in _STEPS),
        "the share of all steps is 0, so the average would stay the initial weights; return the share of new weights",
    )


CHECKS: tuple[Check, ...] = (gives_a_share_for_every_step, is_a_function_of_the_step, takes_new_weights)
