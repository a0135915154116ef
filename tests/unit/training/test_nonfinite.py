"""Steps that are not finite: counted in a row, reported, and in the end refused."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from dit_run.settings import TrainingOptions
from dit_run.training.nonfinite import NonFiniteGuard, NonFiniteLoss, continue_advice
from dit_run.training.step import EncodedBatch, StepResult, update_where

GOOD, BAD = 1.0, float("nan")


def outcome(loss: float, norm: float = 1.0) -> StepResult:
    values = torch.tensor(loss), torch.tensor(norm)
    return StepResult(values[0][None], values[1], values[0].isfinite() & values[1].isfinite())


def batch(*keys: str) -> list[EncodedBatch]:
    nothing = torch.zeros(0)
    return [EncodedBatch(nothing, nothing, nothing, None, keys)]  # type: ignore[arg-type]


def faults(allowed: int, *, scaled: bool = False) -> tuple[NonFiniteGuard, list[str]]:
    said: list[str] = []
    return NonFiniteGuard(allowed, scaled, said.append, continue_advice(TrainingOptions())), said


def test_without_leave_the_first_fault_ends_the_run_naming_its_samples() -> None:
    found, _ = faults(0)
    found.add(1, outcome(GOOD), batch("a"))
    with pytest.raises(
        NonFiniteLoss, match=r"step 2: the loss is nan and the gradient norm 1; .* Its samples: b, c\. Continue"
    ):
        found.add(2, outcome(BAD), batch("b", "c"))


@pytest.mark.parametrize(
    ("precision", "advice"),
    [
        ("no", "such as training.learning_rate=0.001, or skip such steps with training.max_bad_steps=3"),
        (
            "bf16",
            "such as training.learning_rate=0.001, in full precision with training.mixed_precision=no, or skip such "
            "steps with training.max_bad_steps=3",
        ),
    ],
)
def test_the_advice_is_settings_to_continue_with(precision: Literal["no", "bf16"], advice: str) -> None:
    training = TrainingOptions(learning_rate=0.002, max_bad_steps=2, mixed_precision=precision)
    assert continue_advice(training) == f". Continue from the last checkpoint with a lower rate, {advice}"


def test_a_good_step_begins_the_count_again() -> None:
    found, said = faults(1)
    for step, loss in enumerate([BAD, GOOD, BAD, GOOD], start=1):
        found.add(step, outcome(loss), batch())
    assert [text.split(":")[0] for text in said] == ["step 1", "step 3"]
    assert found.in_a_row == 0


def test_one_more_in_a_row_than_allowed_is_too_many() -> None:
    found, _ = faults(2)
    found.add(1, outcome(BAD), batch())
    found.add(2, outcome(GOOD, norm=BAD), batch())
    with pytest.raises(NonFiniteLoss, match="step 3"):
        found.add(3, outcome(BAD), batch())


def test_while_a_loss_scale_is_found_only_the_loss_counts() -> None:
    found, said = faults(0, scaled=True)
    found.add(1, outcome(GOOD, norm=float("inf")), batch())
    assert not said
    with pytest.raises(NonFiniteLoss):
        found.add(2, outcome(BAD), batch())


@pytest.mark.parametrize("fused", [True, False])
def test_an_update_that_is_not_finite_leaves_weights_and_state(fused: bool) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=fused)
    for finite in (True, False):
        weight.grad = torch.tensor([1.0, 2.0, 3.0 if finite else BAD])
        before = weight.detach().clone(), {name: value.clone() for name, value in optimizer.state[weight].items()}
        update_where(optimizer, torch.tensor(finite))
        assert torch.equal(weight.detach(), before[0]) is not finite
    assert all(torch.equal(value, before[1][name]) for name, value in optimizer.state[weight].items())


def test_a_fused_update_is_that_of_the_optimizer_alone() -> None:
    one, other = (torch.nn.Parameter(torch.arange(5.0)) for _ in range(2))
    optimizers = [torch.optim.AdamW([weight], lr=0.1, fused=True) for weight in (one, other)]
    for weight in (one, other):
        weight.grad = torch.arange(5.0) - 2
    update_where(optimizers[0], torch.tensor(True))
    optimizers[1].step()
    assert torch.equal(one, other)


def test_fifty_steps_without_an_update_are_too_many() -> None:
    found, _ = faults(0, scaled=True)
    for step in range(1, 50):
        found.add(step, outcome(GOOD, norm=BAD), batch("a"))
    with pytest.raises(NonFiniteLoss, match="step 50: no update in 50 steps, because no loss scale makes"):
        found.add(50, outcome(GOOD, norm=BAD), batch("a"))


def test_an_update_begins_the_count_of_steps_without_one_again() -> None:
    found, said = faults(0, scaled=True)
    for step in range(1, 99):
        found.add(step, outcome(GOOD, norm=GOOD if step == 49 else BAD), batch("a"))
    assert not said


def test_a_loss_scale_below_one_for_fifty_steps_ends_the_run() -> None:
    found, _ = faults(0, scaled=True)
    for step, scale in ((10, 0.5), (50, 2.0), (60, 0.5), (109, 0.25)):
        found.check_scale(step, scale)
    with pytest.raises(NonFiniteLoss, match=r"step 110: the loss scale has been below 1 since step 60\. Continue"):
        found.check_scale(110, 0.5)
