"""Print the bytes of weights, gradients, optimizer state and averages in each process, by the number of shards.

``python benchmarks/sharded_state.py CONFIG SHARDS ...`` forks as many processes for each number, shards the config's
model as a run does, makes one update and prints a JSON object such as ``{"1": [1000], "2": [500, 500]}``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial

import torch
import torch.distributed.fsdp
from forked import in_processes
from torch import Tensor

import dit_run
from dit_run.assembly.optimization import build_optimizer
from dit_run.assembly.parts import Encoders
from dit_run.assembly.prepare import Data, prepare
from dit_run.compute.distributed import Processes
from dit_run.compute.sharding import Sharding, local
from dit_run.training.run_parts import RunParts

Prepared = tuple[dit_run.Config, Data, Encoders]


def state_bytes(prepared: Prepared, processes: Processes) -> int:
    """Return the bytes that stay in this process, after an update, with weights that all processes share."""
    config, data, encoders = prepared
    parts = RunParts.build(config, data, encoders, processes.device)
    sharding = Sharding.of(processes.count, processes, parts.precision)
    if sharding is not None:
        sharding.apply(parts.step_loss())
        for average in parts.averages.values():
            average.shard(sharding)
    optimizer = build_optimizer(config, parts.denoiser, processes.device)
    for parameter in parts.denoiser.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    return sum(local(tensor).numel() * tensor.element_size() for tensor in _tensors(parts, optimizer))


def _tensors(parts: RunParts, optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    for parameter in parts.denoiser.parameters():
        yield parameter
        if parameter.grad is not None:
            yield parameter.grad
    for values in optimizer.state.values():
        yield from (value for value in values.values() if isinstance(value, Tensor))
    yield from (value for average in parts.averages.values() for value in average.module.parameters())


def main() -> None:
    torch.set_num_threads(1)
    prepared = prepare(dit_run.load_config(sys.argv[1]), device=torch.device("cpu"))
    print(json.dumps({count: in_processes(int(count), partial(state_bytes, prepared)) for count in sys.argv[2:]}))


if __name__ == "__main__":
    main()
