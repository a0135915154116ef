"""Problems of a config or an input, as values that one reporter prints, and the errors that carry them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["ConfigError", "DitRunError", "InputError", "KeyPath", "NotInDiffusers", "Place", "Problem", "portable"]

KeyPath = tuple[str | int, ...]
"""Path of a key in a config: ``("training", "batch_size")``, ``("trackers", 0, "type")``."""


@dataclass(frozen=True, order=True)
class Place:
    """A span of one line of a source text; line and column count from 1."""

    source: str
    """A file's path, or ``command line``."""
    line: int
    column: int
    length: int = 1
    text: str = field(default="", compare=False)
    """The whole line, for the reporter to show."""

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Problem:
    """A mistake; with ``severity="notice"`` a fact that the user should see."""

    code: str
    """A short stable name: ``unknown-key``, ``wrong-type``, ``missing-file`` …"""
    message: str
    """Expected and received value, with section and type."""
    path: KeyPath = ()
    """The key concerned; the loader adds its place."""
    place: Place | None = None
    help: tuple[str, ...] = ()
    """Advice, one line each."""
    severity: str = "error"
    related: tuple[KeyPath, ...] = ()
    """Other keys that take part, such as the values that do not fit together."""
    related_places: tuple[Place, ...] = ()
    """Places of the related keys; the loader adds them."""


class DitRunError(Exception):
    """A failure that the user can understand and correct: shown without a traceback. Exit status 1."""

    exit_status = 1


class InputError(DitRunError):
    """A wrong input: a missing path, a broken image, a checkpoint of another shape. Exit status 2."""

    exit_status = 2


class NotInDiffusers(InputError):
    """A part or a setting of a run that no pipeline of diffusers has, so that its export holds code."""


class ConfigError(InputError):
    """All problems of a config, sorted by place."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{p.place}: {p.message}" if p.place else p.message for p in self.problems))


def portable(error: DitRunError) -> DitRunError:
    """Return an error of the same text and exit status that another process can unpickle."""
    if type(error).__init__ is DitRunError.__init__ and "<locals>" not in type(error).__qualname__:
        return type(error)(str(error))
    return (InputError if error.exit_status == InputError.exit_status else DitRunError)(str(error))
