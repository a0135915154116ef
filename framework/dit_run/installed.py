"""Installed plugins: the entry points of the group ``dit_run``, found without importing what they name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import Distribution, distributions

from dit_run.hookspecs import ENTRY_POINT_GROUP
from dit_run.problems import InputError

__all__ = ["Installed", "installed_plugins"]


@dataclass(frozen=True)
class Installed:
    """A plugin that is installed, not loaded yet."""

    name: str
    """The entry point's name."""
    source: str
    """What it names."""
    distribution: str
    version: str
    load: Callable[[], object]
    """Imports it."""


def installed_plugins() -> Iterator[Installed]:
    """The plugins of each distribution that is first of its name on the path; only those that have some are read."""
    seen = set()
    for distribution in distributions():
        text = distribution.read_text("entry_points.txt") or ""
        if f"[{ENTRY_POINT_GROUP}]" not in text:
            continue
        name, version = _identity(distribution)
        if name not in seen:
            seen.add(name)
            yield from _points(distribution, name, version)


def _points(distribution: Distribution, name: str, version: str) -> Iterator[Installed]:
    try:
        points = distribution.entry_points.select(group=ENTRY_POINT_GROUP)
    except Exception as error:  # noqa: BLE001 (the parser raises whatever a malformed line makes it raise)
        yield Installed(name, "entry_points.txt", name, version, partial(_refuse_entry_points, error))
        return
    yield from (Installed(point.name, point.value, name, version, point.load) for point in points)


def _refuse_entry_points(error: Exception) -> object:
    raise InputError(f"its entry_points.txt cannot be read: {error}") from error


def _identity(distribution: Distribution) -> tuple[str, str]:
    """Name and version, which damaged metadata does not tell."""
    metadata = distribution.metadata
    return metadata["Name"] or "unknown", metadata["Version"] or "unknown"
