"""The processes of a run: one, or those that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch

from dit_run.problems import InputError

__all__ = ["Processes", "choose_device", "continued_accumulation", "join"]

TIMEOUT = timedelta(minutes=10)
"""How long a process waits for the others before it gives up."""


@dataclass(frozen=True)
class Processes:
    """Which process this is, of how many, and what they agree on. Alone, every agreement is immediate."""

    rank: int = 0
    count: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.count == 1:
            return flag
        value = torch.tensor(float(flag), device=self.device)
        torch.distributed.all_reduce(value, op=torch.distributed.ReduceOp.MAX)
        return bool(value.item())

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """The mean of each value over the processes."""
        if self.count == 1:
            return dict(values)
        packed = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(packed)
        return dict(zip(values, (packed / self.count).tolist(), strict=True))

    def broadcast(self, value: Any) -> Any:
        """The first process's value, a plain one, in every process."""
        if self.count == 1:
            return value
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.count > 1:
            torch.distributed.barrier()

    def leave(self) -> None:
        """Close the connection to the others."""
        if self.count > 1:
            torch.distributed.destroy_process_group()


def join(device: str) -> Processes:
    """The processes that the environment describes (torchrun's RANK, WORLD_SIZE, LOCAL_RANK), connected: by NCCL on
    GPUs, by gloo elsewhere. Raises InputError for a device that is not there."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Processes(device=choose_device(device))
    chosen = choose_device(device, local_rank=int(os.environ.get("LOCAL_RANK", "0")))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, timeout=TIMEOUT)
    return Processes(int(os.environ["RANK"]), count, chosen)


def choose_device(name: str, *, local_rank: int = 0) -> torch.device:
    """The device that ``training.device`` means; ``auto`` takes a GPU, each process its own, where there is one."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", local_rank % torch.cuda.device_count())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= there:
            raise InputError(f"training.device is {name}, but torch sees {there} CUDA devices; take auto or cpu")
        return torch.device("cuda", local_rank % there if device.index is None else device.index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("training.device is mps, which torch does not see on this machine; take auto or cpu")
    return device


def continued_accumulation(global_batch: int, batch_size: int, processes: int) -> int:
    """Micro-steps that keep a run's global batch at another number of processes.

    Raises InputError naming the numbers of processes that fit when it would not be whole.
    """
    accumulation, rest = divmod(global_batch, batch_size * processes)
    if rest or not accumulation:
        micro_batches = global_batch // batch_size
        fitting = [str(count) for count in range(1, micro_batches + 1) if global_batch % (batch_size * count) == 0]
        raise InputError(
            f"this run's global batch is {global_batch}; {processes} processes of batch_size {batch_size} cannot share "
            f"it evenly. Numbers of processes that fit: {', '.join(fitting) or 'none at this batch_size'}"
        )
    return accumulation
