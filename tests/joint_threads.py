"""Threads that act as the processes of a run: each has a rank, and they share a store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch.distributed import HashStore

from dit_run.compute.distributed import Processes
from dit_run.compute.process_progress import ProcessProgress

__all__ = ["in_threads"]

T = TypeVar("T")


@dataclass
class _Meeting:
    """The place where the threads exchange values."""

    barrier: threading.Barrier
    values: list[Any]


@dataclass(frozen=True)
class _Thread(Processes):
    meeting: _Meeting = field(default_factory=lambda: _Meeting(threading.Barrier(1), [None]))

    def gather(self, value: T) -> list[T]:
        self.meeting.barrier.wait(60)
        self.meeting.values[self.rank] = value
        self.meeting.barrier.wait(60)
        return list(self.meeting.values)

    def largest(self, number: int) -> int:
        return max(self.gather(number))

    def broadcast(self, value: T) -> T:
        return self.gather(value)[0]


def in_threads(count: int, work: Callable[[Processes], T]) -> list[T | Exception]:
    """Return what ``work`` returns or raises in each thread, by rank."""
    meeting, store = _Meeting(threading.Barrier(count), [None] * count), HashStore()

    def call(rank: int) -> T | Exception:
        try:
            return work(_Thread(rank, count, progress=ProcessProgress(store, rank, count), meeting=meeting))
        except Exception as error:  # noqa: BLE001  the test looks at it
            return error

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(call, range(count)))
