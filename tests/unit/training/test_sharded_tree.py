"""Shared weights under elastic_exact: the bytes of one process, whatever the shards, their rows and their optimizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from forked_processes import run_script

SHARED = """
import hashlib, json
from functools import partial
from importlib.util import find_spec
import torch
from torch import nn
from forked_processes import fork_processes
from dit_run.assembly.layout import Layout
from dit_run.compute.distributed import join_processes
from dit_run.compute.precision import Precision
from dit_run.compute.sharding import Sharding, is_sharded
from dit_run.compute.whole_updates import WholeUpdates, without_memory
from dit_run.model.average_profiles import ema_share
from dit_run.training.average import Average
from dit_run.training.evaluation_weights import has_modes, start_training
from dit_run.training.gradients import distribute
from dit_run.training.step import update_where
from dit_run_plugins.optimizers import muon, schedule_free_adamw, torch_class

CPU = torch.device("cpu")

class Network(nn.Module):
    '''Rows that no number of shards divides, fewer rows than shards, and a parameter that takes no part.'''

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(5, 19)
        self.blocks = nn.ModuleList(nn.Linear(19, 19) for _ in range(3))
        self.last = nn.Linear(19, 3)
        self.idle = nn.Parameter(torch.ones(3))

    def forward(self, values):
        values = self.first(values)
        for block in self.blocks:
            values = block(values).relu()
        return self.last(values)

def whole(value):
    return value.full_tensor() if is_sharded(value) else value

def optimizer_of(kind, named):
    roles = {name: "matrix" if "blocks" in name and name.endswith("weight") else "other" for name, _ in named}
    if kind == "muon":  # which gives the others to AdamW
        return muon.build(muon.Muon(), named_parameters=named, roles=roles, learning_rate=0.05, device=CPU)
    if kind == "schedule_free":
        options = schedule_free_adamw.ScheduleFreeAdamW()
        return schedule_free_adamw.build(options, named_parameters=named, roles=roles, learning_rate=0.05)
    options = torch_class.TorchClass(name=kind)
    return torch_class.build(options, named_parameters=named, roles=roles, learning_rate=0.05)

def learnt(processes, shard, kind):
    network = Network()
    average = Average(network, partial(ema_share, decay=0.5, power=0.0))
    layout = Layout(2, 8 // processes.count, processes.count, processes.rank, shard)
    sharding = Sharding.of(shard, processes, Precision.of("no", CPU), exact=True)
    if sharding is not None:
        sharding.apply(network)
        average.shard(sharding)
    forward, gradients = distribute(network, processes, sharding, exact=True, accumulation=layout.accumulation)
    parameters = list(network.parameters())
    given = [each if sharding is None else without_memory(each, CPU) for each in parameters]
    optimizer = optimizer_of(kind, list(zip(dict(network.named_parameters()), given)))
    if sharding is not None:
        WholeUpdates(optimizer, dict(zip(given, parameters)))
    start_training(optimizer)
    found = []
    for step in range(2):
        optimizer.zero_grad()
        losses = []
        for index, positions in enumerate(layout.micro_batches(step, step + 1)):
            values = torch.randn(2, 5, generator=torch.Generator().manual_seed(positions[0]))
            with gradients.micro_batch(index, last=index == layout.accumulation - 1):
                loss = forward(values).square().mean()
                (loss / gradients.divisor).backward()
            losses.append(loss.detach()[None])
        gradients.finish(parameters)
        norm = gradients.norm([each.grad for each in parameters if each.grad is not None])
        update_where(optimizer, torch.isfinite(norm), (norm / 0.1).clamp(min=1.0))
        average.update(step)
        found += [gradients.mean(losses), norm]
    if has_modes(optimizer):
        optimizer.eval()
    states = [value for each in parameters for value in optimizer.state.get(each, {}).values()]
    assert all(is_sharded(value) for value in states if value.ndim) or sharding is None
    tensors = [whole(each) for each in (*found, *parameters, *average.module.parameters(), *states)]
    return hashlib.sha256(b"".join(each.detach().numpy().tobytes() for each in tensors)).hexdigest()

def train(shard):
    processes = join_processes("cpu")
    kinds = ["muon", "AdamW", "SGD"] + ["schedule_free"] * (find_spec("schedulefree") is not None)
    digests = {kind: learnt(processes, shard, kind) for kind in kinds}
    with open(f"{processes.count}-{shard}-{processes.rank}", "w") as file:
        json.dump(digests, file)
    processes.leave()

torch.set_num_threads(1)
for count, shard in ((1, 1), (2, 2), (4, 2)):
    fork_processes(count, partial(train, shard))
"""


@pytest.mark.slow
def test_all_shards_learn_the_bytes_of_one_process(tmp_path: Path) -> None:
    run_script(SHARED, tmp_path)
    found = {path.name: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert len(found) == 7 and len(set(found["1-1-0"].values())) == len(found["1-1-0"]) >= 3
    assert {name for name, digests in found.items() if digests != found["1-1-0"]} == set()
