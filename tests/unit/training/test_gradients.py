"""Gradients over processes: the same buckets in each step, and parameters that take no part."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SHARED = """
import os, socket
import torch
from torch import nn
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
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
os.environ.update(WORLD_SIZE="4", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
for rank in range(4):
    if os.fork() == 0:  # what is imported is imported once
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
        train()
        os._exit(0)
assert all(os.wait()[1] == 0 for _ in range(4))
"""


@pytest.mark.slow
def test_four_processes_add_the_gradients_of_every_step_in_one_order(tmp_path: Path) -> None:
    """A continued run begins in the middle: its first step must give the bytes of any other."""
    import torch

    subprocess.run([sys.executable, "-c", SHARED], cwd=tmp_path, check=True, timeout=120)
    steps = [torch.load(tmp_path / f"{rank}-{step}.pt") for rank in range(4) for step in range(3)]
    for idle, *used in steps:
        assert idle is None
        for gradient, first in zip(used, steps[0][1:], strict=True):
            assert gradient.numpy().tobytes() == first.numpy().tobytes()
