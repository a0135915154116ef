"""Reporting: events of a run. The engine calls a Reporter, which decides how to show them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

__all__ = ["Reporter", "Silent"]


class Reporter(Protocol):
    """Receiver of a run's events, called in the first process only."""

    def notice(self, text: str) -> None:
        """Show a fact that the user should see once."""
        ...

    def phase(self, name: str, done: int, total: int) -> None:
        """Show the progress of a preparation, such as building the cache: ``done`` of ``total`` items."""
        ...

    def begin(self, step: int, total_steps: int) -> None:
        """Show that training starts, or continues after ``step`` steps."""
        ...

    def step(self, step: int, loss: float | None) -> None:
        """Show that an optimizer step is done; ``loss`` is None if it would have to wait for the device."""
        ...

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        """Show the values that were sent to the trackers."""
        ...

    def saved(self, path: Path) -> None:
        """Show that a checkpoint or an image was written."""
        ...

    def end(self) -> None:
        """Show that training, or building its cache, ended or failed."""
        ...


class Silent:
    """A reporter that shows nothing."""

    def notice(self, text: str) -> None: ...

    def phase(self, name: str, done: int, total: int) -> None: ...

    def begin(self, step: int, total_steps: int) -> None: ...

    def step(self, step: int, loss: float | None) -> None: ...

    def logged(self, step: int, values: Mapping[str, float]) -> None: ...

    def saved(self, path: Path) -> None: ...

    def end(self) -> None: ...
