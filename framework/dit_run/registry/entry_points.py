"""Installed plugins: the entry points of the group ``dit_run``, found without importing what they name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import Distribution, EntryPoint, distributions

from dit_run.problems import InputError
from dit_run.registry.hookspecs import ENTRY_POINT_GROUP

__all__ = ["Installed", "installed_plugins"]

_FORM = "'name = package.module'"


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
        try:
            text = distribution.read_text("entry_points.txt") or ""
        except (OSError, ValueError) as error:  # there may be plugins in it
            name, version = _identity(distribution)
            yield _unreadable(name, version, f"its entry_points.txt cannot be read: {error}")
            continue
        if f"[{ENTRY_POINT_GROUP}]" not in text:
            continue
        name, version = _identity(distribution)
        if name not in seen:
            seen.add(name)
            yield from _points(distribution, name, version)


def _points(distribution: Distribution, name: str, version: str) -> Iterator[Installed]:
    try:
        points = distribution.entry_points.select(group=ENTRY_POINT_GROUP)
    except Exception:  # noqa: BLE001 (the parser raises whatever a malformed line makes it raise)
        yield _unreadable(name, version, f"its entry_points.txt has a line that is not {_FORM}")
        return
    yield from (Installed(point.name, point.value, name, version, partial(_loaded, point)) for point in points)


def _loaded(point: EntryPoint) -> object:
    if point.pattern.match(point.value) is None:
        raise InputError(f"its entry point '{point.name} = {point.value}' is not {_FORM}")
    return point.load()


def _unreadable(name: str, version: str, fault: str) -> Installed:
    return Installed(name, "entry_points.txt", name, version, partial(_refuse, fault))


def _refuse(fault: str) -> object:
    raise InputError(fault)


def _identity(distribution: Distribution) -> tuple[str, str]:
    """Name and version, which damaged metadata does not tell."""
    try:
        metadata = distribution.metadata
    except (OSError, ValueError):
        return "unknown", "unknown"
    return metadata["Name"] or "unknown", metadata["Version"] or "unknown"
