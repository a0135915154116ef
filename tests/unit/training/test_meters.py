"""Meters: means since the last reading."""

from __future__ import annotations

import json

import torch

from dit_run.training.meters import Meters
from dit_run.training.step import StepResult

CPU = torch.device("cpu")


def outcome(loss: float, norm: float = 1.0, finite: bool = True) -> StepResult:
    return StepResult(torch.tensor([loss]), torch.tensor(norm), torch.tensor(finite))


def test_a_reading_is_the_mean_since_the_last_one() -> None:
    meters = Meters(CPU)
    for loss in (1.0, 3.0):
        meters.add(outcome(loss, 2 * loss))
    assert meters.read() == {"loss": 2.0, "grad_norm": 4.0}
    meters.add(outcome(5.0))
    assert meters.read() == {"loss": 5.0, "grad_norm": 1.0}


def test_a_skipped_step_counts_for_nothing() -> None:
    meters = Meters(CPU)
    meters.add(outcome(1.0))
    meters.add(outcome(float("nan"), float("inf"), finite=False))
    assert meters.read() == {"loss": 1.0, "grad_norm": 1.0}


def test_nothing_is_read_where_no_step_counted() -> None:
    meters = Meters(CPU)
    meters.add(outcome(float("inf"), finite=False))
    assert meters.read() == {}


def test_state_keeps_every_bit_through_json() -> None:
    meters, continued = Meters(CPU), Meters(CPU)
    for loss in (0.1, 1e-9, 1 / 3):
        meters.add(outcome(loss))
    continued.load_state_dict(json.loads(json.dumps(meters.state_dict())))
    assert continued.read() == meters.read()


def test_a_reading_that_was_not_logged_is_read_again_after_a_resume() -> None:
    meters, continued = Meters(CPU), Meters(CPU)
    meters.add(outcome(3.0))
    assert meters.again() == {"loss": 3.0, "grad_norm": 1.0}
    continued.load_state_dict(json.loads(json.dumps(meters.state_dict())))
    assert continued.again() == {"loss": 3.0, "grad_norm": 1.0}
    continued.add(outcome(5.0))
    assert continued.again() == {"loss": 5.0, "grad_norm": 1.0}
