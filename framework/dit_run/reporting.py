"""What a run tells while it goes on. The engine reports; who shows it decides how."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

__all__ = ["Reporter", "Silent"]


class Reporter(Protocol):
    """Told of everything a run does, in the first process only."""

    def notice(self, text: str) -> None:
        """Something worth knowing once."""
        ...

    def phase(self, name: str, done: int, total: int) -> None:
        """Preparation: ``done`` of ``total`` items, as when a cache is built."""
        ...

    def begin(self, step: int, total_steps: int) -> None:
        """Training starts, or goes on, after ``step`` steps."""
        ...

    def step(self, step: int, loss: float | None) -> None:
        """An optimizer step is done; the loss where it is known without waiting for the device."""
        ...

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        """The values that went to the trackers."""
        ...

    def saved(self, path: Path) -> None:
        """A checkpoint or a picture was written."""
        ...

    def end(self) -> None:
        """Training, or making the cache for it, is over, however it ended."""
        ...


class Silent:
    """Shows nothing."""

    def notice(self, text: str) -> None: ...

    def phase(self, name: str, done: int, total: int) -> None: ...

    def begin(self, step: int, total_steps: int) -> None: ...

    def step(self, step: int, loss: float | None) -> None: ...

    def logged(self, step: int, values: Mapping[str, float]) -> None: ...

    def saved(self, path: Path) -> None: ...

    def end(self) -> None: ...
