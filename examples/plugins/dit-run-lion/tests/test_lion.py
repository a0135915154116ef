"""Lion keeps the contract of an optimizer, follows its paper, and trains."""

import torch
from dit_run_lion.lion import LionOptimizer

from dit_run.testing import check_optimizer, check_plugin
from dit_run.testing.fixtures import run_config

__all__ = ["run_config"]


def test_plugin():
    check_plugin("dit_run_lion")


def test_contract():
    check_optimizer("lion")


def test_two_steps_by_hand():
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = LionOptimizer([{"params": [weight], "weight_decay": 0.5}], 0.1, (0.9, 0.99))
    weight.grad = torch.tensor([3.0, -1.0])
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.tensor([0.95 - 0.1, -1.9 + 0.1]))
    weight.grad = torch.tensor([-0.1, 0.0])  # 0.9 * 0.03 - 0.1 * 0.1 > 0: the momentum decides
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.tensor([0.85 * 0.95 - 0.1, -1.8 * 0.95 + 0.1]))


def test_it_trains(run_config):
    run = run_config("optimizer: {type: lion, weight_decay: 0.3}\ntraining: {learning_rate: 1e-4}")
    assert run.errors == ()
    assert len(run.metrics) == 2
