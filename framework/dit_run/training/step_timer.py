"""Phases: the parts of a step that a profile tells apart. Without one, telling them apart costs nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, Protocol, TypeVar

__all__ = ["PHASES", "Clock", "Phase", "Untimed", "timed"]

T = TypeVar("T")

Phase = Literal["data", "encode", "forward", "backward", "optimizer"]
PHASES: tuple[Phase, ...] = ("data", "encode", "forward", "backward", "optimizer")


class Clock(Protocol):
    """Takes the time of phases."""

    def phase(self, name: Phase) -> contextlib.AbstractContextManager[object]:
        """Wraps what belongs to the phase. Phases do not overlap."""
        ...

    def step(self, done: int) -> None:
        """An optimizer step is over; ``done`` is its number, from 1."""
        ...

    def read(self, seconds: float) -> Mapping[str, float]:
        """What to log about the steps since the last reading, which took so long."""
        ...

    def close(self) -> str:
        """What the whole showed, in a sentence or two; empty for nothing."""
        ...


class Untimed:
    """The clock of a run without a profile."""

    _nothing: contextlib.AbstractContextManager[object] = contextlib.nullcontext()

    def phase(self, name: Phase) -> contextlib.AbstractContextManager[object]:
        return self._nothing

    def step(self, done: int) -> None:
        return None

    def read(self, seconds: float) -> Mapping[str, float]:
        return {}

    def close(self) -> str:
        return ""


def timed(items: Iterable[T], clock: Clock, phase: Phase) -> Iterator[T]:
    """The items as they are, the time that it takes to get each one being the phase's."""
    iterator = iter(items)
    while True:
        with clock.phase(phase):
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item
