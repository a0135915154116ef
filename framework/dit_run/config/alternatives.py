"""Alternatives: two keys that are forms of one, of which the one in the higher layer counts."""

from __future__ import annotations

from collections.abc import Sequence

from dit_run.config.keys import key_name
from dit_run.config.nodes import Entry, MapNode, Scalar, Source
from dit_run.config.written_options import written_options
from dit_run.options import Option
from dit_run.problems import KeyPath, Problem
from dit_run.registry.registry import Registry

__all__ = ["drop_lower_alternatives"]


def drop_lower_alternatives(
    root: MapNode, registry: Registry, sources: Sequence[Source], problems: list[Problem]
) -> None:
    """Remove each key whose other form a higher layer writes; add a problem if one layer writes both.

    ``sources`` are the layers, lowest first. A key that is null is not written.
    """
    ranks = {source.name: rank for rank, source in enumerate(sources)}
    for written in written_options(root, registry):
        path, section = written.path, written.node
        for option in written.options:
            pair = [entry for name in (option.name, option.instead_of) if (entry := _written(section, name))]
            if len(pair) < 2:
                continue
            lower, upper = sorted(pair, key=lambda entry: ranks[entry.node.span.source.name])
            if lower.node.span.source.name == upper.node.span.source.name:
                problems.append(_both(path, option, pair))
            else:
                del section.entries[lower.key]


def _written(section: MapNode, name: str | None) -> Entry | None:
    """Return the entry of a key that is written and not null."""
    entry = section.entries.get(name) if name is not None else None
    null = entry is not None and isinstance(entry.node, Scalar) and entry.node.value is None
    return None if null else entry


def _both(path: KeyPath, option: Option, pair: Sequence[Entry]) -> Problem:
    one, other = (entry.node.span.place() for entry in pair)
    names = [f"{key_name(path)}.{option.name}", f"{key_name(path)}.{option.instead_of}"]
    return Problem(
        "two-forms",
        f"{names[0]} and {names[1]} are two forms of one setting, and both are written",
        (*path, option.name),
        one,
        help=("remove one of the two",),
        related_places=(other,),
    )
