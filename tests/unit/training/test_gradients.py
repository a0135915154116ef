"""Gradients over processes: the same buckets in each step, and parameters that take no part."""

from __future__ import annotations

from pathlib import Path

import pytest
from forked_processes import run_script

SHARED = """
import torch
from torch import nn
from forked_processes import fork_processes
from dit_run.compute.distributed import join_processes
from dit_run.training.gradients import distribute

class Network(nn.Module):
    '''Its parameters are used in another order than that in which they are made, and the last is not used at all.'''

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(700, 700, bias=False) for _ in range(6))
        self.idle = nn.Parameter(torch.ones(3))

    def forward(self, value):
        for layer in (self.layers[index] for index in (3, 0, 5, 1, 4, 2)):
            value = layer(value)
        return value

def train():
    all = join_processes("cpu")
    network = Network()
    forward, gradients = distribute(network, all, exact=False, accumulation=1)
    value = torch.randn(2, 700, generator=torch.Generator().manual_seed(all.rank))
    for step in range(3):
        network.zero_grad()
        with gradients.micro_batch(0, last=True):
            forward(value).square().mean().backward()
        torch.save([parameter.grad for parameter in network.parameters()], f"{all.rank}-{step}.pt")
    all.leave()

torch.set_num_threads(1)
fork_processes(4, train)
"""


@pytest.mark.slow
def test_four_processes_add_the_gradients_of_every_step_in_one_order(tmp_path: Path) -> None:
    """A continued run begins in the middle: its first step must give the bytes of any other."""
    import torch

    run_script(SHARED, tmp_path)
    steps = [torch.load(tmp_path / f"{rank}-{step}.pt") for rank in range(4) for step in range(3)]
    for idle, *used in steps:
        assert idle is None
        for gradient, first in zip(used, steps[0][1:], strict=True):
            assert gradient.numpy().tobytes() == first.numpy().tobytes()
