"""The processes of a run: one, or those that torchrun started."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch

from dit_run.problems import DitRunError, InputError
from dit_run.system.signals import timeout_seconds

__all__ = [
    "ProcessLost",
    "Processes",
    "choose_device",
    "continued_accumulation",
    "join",
    "translate_lost_process",
]

T = TypeVar("T")


_LOST = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")


@dataclass(frozen=True)
class Processes:
    """Which process this is, of how many, and what they agree on: every method is called in all of them.

    Alone, every agreement is immediate and torch.distributed is not imported.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.count == 1:
            return flag
        import torch.distributed as dist

        value = torch.tensor([int(flag)])
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value.item())

    def gather(self, values: Sequence[float]) -> list[float]:
        """The values of all processes, each of which gives as many, in the order of their ranks."""
        if self.count == 1:
            return list(values)
        import torch.distributed as dist

        own = torch.tensor(list(values), dtype=torch.float64)
        parts = [torch.empty_like(own) for _ in range(self.count)]
        dist.all_gather(parts, own)
        return [float(value) for part in parts for value in part]

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """The mean of each value over the processes, which all have the same names in the same order."""
        if self.count == 1:
            return dict(values)
        gathered = self.gather(list(values.values()))
        return {name: math.fsum(gathered[i :: len(values)]) / self.count for i, name in enumerate(values)}

    def broadcast(self, value: T) -> T:
        """The first process's value, which JSON can hold, in every process."""
        if self.count == 1:
            return value
        import torch.distributed as dist

        data = json.dumps(value).encode() if self.first else b""
        length = torch.tensor([len(data)])
        dist.broadcast(length, src=0)
        buffer = torch.frombuffer(bytearray(data or bytes(int(length))), dtype=torch.uint8)
        dist.broadcast(buffer, src=0)
        result: T = json.loads(bytes(buffer.tolist()))
        return result

    def on_first(self, work: Callable[[], T]) -> T:
        """What ``work``, called in the first process alone, returns: a value that JSON can hold. Its DitRunError is
        raised in every process, so that none waits for one that has left."""
        if self.count == 1:
            return work()
        answer: dict[str, Any] = {}
        own: DitRunError | None = None
        if self.first:
            try:
                answer = {"value": work()}
            except DitRunError as error:
                own, answer = error, {"error": str(error), "status": error.exit_status}
        answer = self.broadcast(answer)
        if own is not None:
            raise own
        if "error" in answer:
            raise (InputError if answer["status"] == InputError.exit_status else DitRunError)(answer["error"])
        value: T = answer["value"]
        return value

    def barrier(self) -> None:
        """Wait until every process is here."""
        self.any(False)

    def leave(self) -> None:
        """Close the connection to the others."""
        if self.count > 1:
            import torch.distributed as dist

            dist.destroy_process_group()


def join(device: str) -> Processes:
    """The processes that the environment describes (torchrun's RANK, WORLD_SIZE, LOCAL_RANK), connected: by NCCL for
    what is on GPUs, by gloo for the rest. Raises InputError for a device that is not there.

    A process that froze is noticed after :func:`timeout_seconds`.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Processes(device=choose_device(device))
    import torch.distributed as dist

    chosen = choose_device(device, local_rank=int(os.environ.get("LOCAL_RANK", "0")))
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout_seconds()))
    return Processes(int(os.environ["RANK"]), count, chosen)


class ProcessLost(DitRunError):
    """Another process of the run was killed, failed or froze."""


@contextlib.contextmanager
def translate_lost_process(processes: Processes) -> Iterator[None]:
    """Turns what torch.distributed raises when it cannot reach another process into ProcessLost."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error)
        if processes.count == 1 or not any(sign in reason for sign in _LOST):
            raise
        raise ProcessLost(
            f"process {processes.rank} cannot reach another process of this run, which was killed, failed or froze "
            f"({reason.splitlines()[0][-120:]}). Its own output says more; the same command continues from the last "
            "checkpoint"
        ) from error


def choose_device(name: str, *, local_rank: int = 0) -> torch.device:
    """The device that ``training.device`` means; ``auto`` takes a GPU, each process its own, where there is one. A CUDA
    device becomes torch's current one: events and waiting are of that."""
    device = _meant(name, local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _meant(name: str, local_rank: int) -> torch.device:
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
    if rest:
        micro_batches = global_batch // batch_size
        fitting = [str(count) for count in range(1, micro_batches + 1) if global_batch % (batch_size * count) == 0]
        raise InputError(
            f"this run's global batch is {global_batch}; {processes} processes of batch_size {batch_size} cannot share "
            f"it evenly. Numbers of processes that fit: {', '.join(fitting) or 'none at this batch_size'}"
        )
    return accumulation
