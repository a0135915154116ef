"""The pace of the processes of a run: how long each works on a step before it has to wait for the others."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

import torch

from dit_run.compute.distributed import Processes
from dit_run.compute.memory_meter import MemoryMeter
from dit_run.training.step_timer import Phase, StepTimer

__all__ = ["Pace", "ProcessPace", "Stragglers"]

_MUCH = 1.5
"""Time of a process from which on it is a straggler (times the median)."""
_WINDOWS = 5
"""Readings in a row after which a straggler is reported (number)."""
_ON_HOST: tuple[Phase, ...] = ("data",)
_ON_DEVICE: tuple[Phase, ...] = ("encode", "forward")
"""Phases before the first exchange of gradients; from there on all processes are as slow as the slowest."""


class Pace(NamedTuple):
    """The pace of a process since the last reading."""

    seconds: float
    """Time of a step: loading, encoding and forward passes."""
    memory: int
    """Peak memory (bytes)."""
    host: str


@dataclass
class Stragglers:
    """The processes that are much slower than the median in several readings in a row; each is reported once."""

    report: Callable[[str], None]
    _slow: dict[int, int] = field(default_factory=dict)
    """Readings in a row in which a process was slow."""
    _reported: set[int] = field(default_factory=set)

    def add(self, paces: Sequence[Pace]) -> None:
        """Add the paces of all processes, by rank."""
        middle = median(pace.seconds for pace in paces)
        for rank, pace in enumerate(paces):
            self._slow[rank] = self._slow.get(rank, 0) + 1 if pace.seconds > _MUCH * middle else 0
            if self._slow[rank] >= _WINDOWS and rank not in self._reported:
                self._reported.add(rank)
                self.report(
                    f"process {rank} on {pace.host} holds up the others: loading and forward passes of a step take it "
                    f"{pace.seconds:.3g} s, and the median process {middle:.3g} s. Look at the load, "
                    "the disk and the temperature of that machine"
                )


class ProcessPace(StepTimer):
    """The timer of a run of several processes. It waits neither for the device nor, between readings, for others."""

    def __init__(
        self,
        processes: Processes,
        device: torch.device,
        memory: MemoryMeter,
        report: Callable[[str], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Time the steps of this process; ``report`` gets a sentence about each straggler, in the first process."""
        self._processes, self._device, self._memory = processes, device, memory
        self._clock = clock
        self._stragglers = Stragglers(report)
        self._steps, self._seconds = 0, 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextlib.contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        if name in _ON_DEVICE and self._device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begin.record()
            yield
            end.record()
            self._events.append((begin, end))
        elif name in _ON_HOST + _ON_DEVICE:
            began = self._clock()
            yield
            self._seconds += self._clock() - began
        else:
            yield

    def step(self, done: int) -> None:
        self._steps += 1

    def read(self, seconds: float) -> Mapping[str, float]:
        """Return the slowest and the median time of a step, and the largest memory; all processes read at a time."""
        paces = self._processes.gather(self._own())
        if self._processes.first:
            self._stragglers.add(paces)
        return {
            "processes/step_seconds_slowest": max(pace.seconds for pace in paces),
            "processes/step_seconds_median": median(pace.seconds for pace in paces),
            "processes/memory_gb": max(pace.memory for pace in paces) / 1e9,
        }

    def _own(self) -> Pace:
        for _, end in self._events[-1:]:
            end.synchronize()  # done already: the loss was read
        seconds = self._seconds + sum(begin.elapsed_time(end) for begin, end in self._events) / 1e3
        pace = Pace(seconds / max(1, self._steps), self._memory.peak, socket.gethostname())
        self._steps, self._seconds = 0, 0.0
        self._events.clear()
        return pace
