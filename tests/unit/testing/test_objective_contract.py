"""The contract of objectives finds objectives that break it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dit_run import Component, Kind
from dit_run.protocols import NoisyBatch, ObjectiveLoss, PredictFor
from dit_run.registry.registry import Registry
from dit_run.testing import ContractError, check_objective

TEMPLATE = Path(__file__).resolve().parents[3] / "framework" / "dit_run" / "templates" / "objective.py"


@dataclass(frozen=True, kw_only=True)
class Options:
    """No options."""


class Plain:
    """The denoising loss, with a head of its own on the output."""

    def __init__(self) -> None:
        self.trained: Any = nn.Conv2d(3, 3, 1)

    def __call__(self, batch: NoisyBatch, predict: PredictFor) -> Any:
        return ObjectiveLoss(batch.denoising_loss(self.trained(predict().output)))


def component(made: Callable[[], Any]) -> Component:
    return Component(Kind.OBJECTIVE, "mine", Options, lambda options: made())


def test_the_template_keeps_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(TEMPLATE.read_text().replace("example", "mine"))
    check_objective(Registry().with_file(path).component(Kind.OBJECTIVE, "mine"))


def test_an_objective_with_weights_of_its_own_keeps_the_contract() -> None:
    check_objective(component(Plain))


class Between(Plain):
    """Trains the model between two times."""

    second_time = True

    def __call__(self, batch: NoisyBatch, predict: PredictFor) -> Any:
        output = predict(batch.noisy, batch.timesteps, second_timesteps=batch.timesteps / 2).output
        return ObjectiveLoss(batch.denoising_loss(self.trained(output)))


class Unasked(Between):
    second_time = False


def test_an_objective_may_give_a_second_timestep_where_it_says_so() -> None:
    check_objective(component(Between))
    with pytest.raises(ContractError, match="it gives a second timestep; set its attribute second_time to True"):
        check_objective(component(Unasked))


class Bare(Plain):
    def __call__(self, batch: NoisyBatch, predict: PredictFor) -> Any:
        return super().__call__(batch, predict).samples


class Half(Plain):
    def __call__(self, batch: NoisyBatch, predict: PredictFor) -> Any:
        return ObjectiveLoss(super().__call__(batch, predict).samples.half())


class Missing(Plain):
    parts = ("error",)


class Unnamed(Plain):
    def __call__(self, batch: NoisyBatch, predict: PredictFor) -> Any:
        loss = super().__call__(batch, predict).samples
        return ObjectiveLoss(loss, {"error": loss})


class Detached(Plain):
    def __call__(self, batch: NoisyBatch, predict: PredictFor) -> Any:
        return ObjectiveLoss(batch.denoising_loss(self.trained(predict().output.detach())))


class Idle(Plain):
    def __call__(self, batch: NoisyBatch, predict: PredictFor) -> Any:
        return ObjectiveLoss(batch.denoising_loss(predict().output))


class Counts(Plain):
    calls = 0

    def __call__(self, batch: NoisyBatch, predict: PredictFor) -> Any:
        self.calls += 1
        return ObjectiveLoss(super().__call__(batch, predict).samples + 1e-3 * self.calls)


class Changes(Plain):
    def __call__(self, batch: NoisyBatch, predict: PredictFor) -> Any:
        batch.target.mul_(0.5)
        return super().__call__(batch, predict)


class Climbs(Plain):
    def __call__(self, batch: NoisyBatch, predict: PredictFor) -> Any:
        loss = super().__call__(batch, predict).samples
        return ObjectiveLoss(2 * loss.detach() - loss)


@pytest.mark.parametrize(
    ("objective", "fault"),
    [
        (lambda: 3, "the factory returned int; return an object with a method __call__(batch, predict)"),
        (Bare, "it returned Tensor; return a dit_run.protocols.ObjectiveLoss"),
        (Half, r"the losses of 6 samples: return [6] torch.float32, not [6] torch.float16"),
        (Missing, "it names the part 'error', and its result does not have it"),
        (Unnamed, "its result has the parts ['error'], and its attribute parts names []"),
        (Detached, "no gradient reaches the model"),
        (Idle, "parameter 'weight' of its attribute trained is torch.float32 and gets no gradient"),
        (Climbs, "after 30 steps its mean on one batch went from"),
        (Counts, "the same micro-batch gives another loss in another call"),
        (Changes, "it changed batch.target, which others use"),
    ],
)
def test_it_names_the_fault(objective: Callable[[], Any], fault: str) -> None:
    with pytest.raises(ContractError) as caught:
        check_objective(component(objective))
    assert fault in str(caught.value)


def test_the_generators_of_the_test_stay_as_they_are() -> None:
    torch.manual_seed(7)
    check_objective(component(Plain))
    after = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(after, torch.rand(1))
