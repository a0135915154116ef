"""Weights that are evaluated in place of those that train, shown for a while."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dit_run.problems import InputError
from dit_run.training.evaluation_weights import EvaluationWeights, start_training


class Halving(torch.optim.SGD):
    """Evaluates on a third of the weights; the way back rounds."""

    trains = False

    def eval(self) -> None:
        self._scale(to=False, by=1 / 3)

    def train(self) -> None:
        self._scale(to=True, by=3.0)

    @torch.no_grad()
    def _scale(self, *, to: bool, by: float) -> None:
        if self.trains != to:
            self.param_groups[0]["params"][0].mul_(by)
        self.trains = to


@pytest.fixture
def module() -> nn.Linear:
    module = nn.Linear(64, 1, bias=False)
    nn.init.normal_(module.weight, generator=torch.Generator().manual_seed(0))
    return module


def evaluation(module: nn.Linear, optimizer: Any) -> EvaluationWeights:
    optimizer.trains = True
    return EvaluationWeights(module, optimizer)


def test_the_weights_that_train_come_back_bit_for_bit(module: nn.Linear) -> None:
    optimizer = Halving(module.parameters(), lr=0.1)
    weights, before = evaluation(module, optimizer), module.weight.detach().clone()
    assert not torch.equal(before * (1 / 3) * 3.0, before)  # the optimizer's own way back rounds
    with weights.shown():
        assert torch.equal(module.weight, before * (1 / 3))
        assert weights.kept is not None
        assert torch.equal(weights.kept["weight"], before)
        with weights.shown():  # a checkpoint that is saved during a validation
            assert torch.equal(module.weight, before * (1 / 3))
        assert not optimizer.trains
    assert weights.kept is None
    assert optimizer.trains
    assert torch.equal(module.weight, before)


def test_an_error_puts_them_back(module: nn.Linear) -> None:
    weights, before = evaluation(module, Halving(module.parameters(), lr=0.1)), module.weight.detach().clone()
    with pytest.raises(KeyError), weights.shown():
        raise KeyError
    assert torch.equal(module.weight, before)


def test_an_optimizer_without_modes_is_left_alone(module: nn.Linear) -> None:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    start_training(optimizer)
    weights, before = EvaluationWeights(module, optimizer), module.weight.detach().clone()
    with weights.shown():
        assert weights.kept is None
        assert torch.equal(module.weight, before)


@pytest.mark.parametrize("kept", [{}, {"weight": torch.ones(2, 64)}])
def test_weights_of_another_network_are_refused(module: nn.Linear, kept: dict[str, Tensor]) -> None:
    weights = evaluation(module, Halving(module.parameters(), lr=0.1))
    with pytest.raises(InputError, match=r"the weights that train have no weight of shape \(1, 64\)"):
        weights.restore(kept)
