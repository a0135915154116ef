"""The timer of a step's phases, which a profile implements; without a profile it costs nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, TypeVar

__all__ = ["PHASES", "Phase", "StepTimer", "timed"]

T = TypeVar("T")

Phase = Literal["data", "encode", "forward", "backward", "optimizer"]
PHASES: tuple[Phase, ...] = ("data", "encode", "forward", "backward", "optimizer")


class StepTimer:
    """The timer of a run without a profile, which measures nothing."""

    def phase(self, name: Phase) -> contextlib.AbstractContextManager[object]:
        """Return a context around the work of a phase. Phases do not overlap."""
        return contextlib.nullcontext()

    def step(self, done: int) -> None:
        """Note the end of an optimizer step; ``done`` is its number, from 1."""

    def read(self, seconds: float) -> Mapping[str, float]:
        """Return the values to log about the steps since the last reading, which took this long."""
        return {}

    def close(self) -> str:
        """Return the result in a sentence or two; empty without one."""
        return ""


def timed(items: Iterable[T], timer: StepTimer, phase: Phase) -> Iterator[T]:
    """Yield the items; the time until each one is there belongs to the phase."""
    iterator = iter(items)
    while True:
        with timer.phase(phase):
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item
