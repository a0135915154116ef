"""A trial of a part, and the clock that all parts share."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parents[2]
Values = dict[str, Any]
"""Measured numbers by name; a number that is a mapping itself is a row of a table."""


@dataclass(frozen=True)
class Trial:
    """Limits of a part: its time and its sizes."""

    seconds: float
    """Time limit of the part."""
    tiny: bool = False
    """True: sizes so small that a CPU tries all code of the part in seconds."""

    def size(self, full: int, tiny: int) -> int:
        return tiny if self.tiny else full


@dataclass(frozen=True)
class Part:
    """A part of the measurements, which runs in a process of its own."""

    seconds: float
    """Time limit on a GPU."""
    measure: Callable[[Trial], Values]
    needs: tuple[str, ...] = ()
    """Packages without which the part is skipped."""


Parts = Mapping[str, Part]


def choose_device() -> torch.device:
    from dit_run.compute.devices import choose_device as chosen

    return chosen("auto")


def half() -> str:
    """Return the precision of runs: bf16 on a GPU."""
    return "no" if choose_device().type == "cpu" else "bf16"


def seconds_of(call: Callable[[], object], trial: Trial, *, least: float, rounds: int = 3) -> float:
    """Return the median seconds of a call over rounds of ``least`` seconds, after two calls that do not count.

    A tiny trial makes one round of one call.
    """
    from dit_run.compute.timing import synchronise

    device = choose_device()

    def timed(count: int) -> float:
        synchronise(device)
        began = time.perf_counter()
        for _ in range(count):
            call()
        synchronise(device)
        return (time.perf_counter() - began) / count

    if trial.tiny:
        return timed(1)
    timed(2)
    count = max(1, round(least / max(timed(1), 1e-6)))
    return statistics.median(timed(count) for _ in range(rounds))
