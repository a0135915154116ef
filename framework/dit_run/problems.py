"""Problems: what is wrong with a config or an input, as values that one reporter prints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["ConfigError", "DitRunError", "InputError", "KeyPath", "Place", "Problem"]

KeyPath = tuple[str | int, ...]
"""Where in a config: ``("training", "batch_size")``, ``("trackers", 0, "type")``."""


@dataclass(frozen=True, order=True)
class Place:
    """A span of one line of a source text; line and column count from 1."""

    source: str
    """A file's path, or ``command line``."""
    line: int
    column: int
    length: int = 1
    text: str = field(default="", compare=False)
    """The whole line, for the reporter to draw."""

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, or with ``severity="notice"`` worth knowing."""

    code: str
    """A short stable name: ``unknown-key``, ``wrong-type``, ``missing-file`` …"""
    message: str
    """What was expected and what came, naming section and type."""
    path: KeyPath = ()
    """The key concerned; the loader finds its place."""
    place: Place | None = None
    help: tuple[str, ...] = ()
    """What to do, a line each."""
    severity: str = "error"
    related: tuple[KeyPath, ...] = ()
    """Other keys that are part of it: the values that do not go together."""
    related_places: tuple[Place, ...] = ()
    """Where those are written; the loader finds them."""


class DitRunError(Exception):
    """A failure that the user can understand and mend: its text is shown without a traceback, exit status 1."""

    exit_status = 1


class InputError(DitRunError):
    """Something given is wrong: a missing path, a broken image, a checkpoint of another shape. Exit status 2."""

    exit_status = 2


class ConfigError(InputError):
    """A config with problems; all of them, sorted by place."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{p.place}: {p.message}" if p.place else p.message for p in self.problems))
