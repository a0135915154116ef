"""Installed plugins: the entry points of the group ``dit_run``, found without importing their modules."""

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
    """An installed plugin that is not loaded yet."""

    name: str
    """Name of the entry point."""
    source: str
    """Module that it names."""
    distribution: str
    version: str
    load: Callable[[], object]
    """Imports the module."""


def installed_plugins() -> Iterator[Installed]:
    """Yield the plugins of all distributions; of two with the same name, the first on the path counts."""
    seen = set()
    for distribution in distributions():
        try:
            text = distribution.read_text("entry_points.txt") or ""
        except (OSError, ValueError) as error:  # it may have plugins
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
    except Exception:  # noqa: BLE001 (the parser can raise anything for a malformed line)
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
    """Return name and version, ``unknown`` for damaged metadata."""
    try:
        metadata = distribution.metadata
    except (OSError, ValueError):
        return "unknown", "unknown"
    # Some finders of distributions raise KeyError where importlib's own gives None.
    name, version = ((metadata.get_all(key) or [""])[0] or "unknown" for key in ("Name", "Version"))
    return name, version
