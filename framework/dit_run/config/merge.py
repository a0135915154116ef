"""Merging: one layer of a config laid over another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dit_run.config.environment import expand
from dit_run.config.nodes import Entry, ListNode, MapNode, Scalar
from dit_run.registry.kinds import Kind

__all__ = ["join", "merge"]

_ADDING = "plugins"
"""Section whose list adds to that of the base."""
_KIND_OF_SECTION = {kind.section: kind for kind in Kind if not kind.listed}


def merge(base: MapNode, layer: MapNode) -> MapNode:
    """Lay a layer over a base: mappings merge, other values replace, another ``type`` replaces its component.

    ``plugins`` add to those of the base, whose sections may need them; an empty list drops them.
    """
    return _laid(base, layer, _without_other_type)


def join(base: MapNode, more: MapNode) -> MapNode:
    """Join two parts of one layer, in which the order of keys does not matter.

    A ``type`` also applies to the keys before it, unless they came with a ``type`` of their own.
    """
    return _laid(base, more, _without_other_written_type)


def _laid(base: MapNode, layer: MapNode, kept: Callable[[str, MapNode, MapNode], MapNode]) -> MapNode:
    """Lay ``layer`` over ``base``; ``kept(section, lower, upper)`` returns the keys of a lower section that stay."""
    entries = dict(base.entries)
    for key, entry in layer.entries.items():
        below = entries.get(key)
        if below is None or not (isinstance(below.node, MapNode) and isinstance(entry.node, MapNode)):
            entries[key] = entry if below is None or key != _ADDING else _added(below, entry)
            continue
        lower = kept(key, below.node, entry.node)
        entries[key] = Entry(entry.key, entry.span, _merge_keys(lower, entry.node))
    return MapNode(layer.span, entries)


def _added(below: Entry, entry: Entry) -> Entry:
    """Return a list with the items of a lower one before its own; an empty one, or no list, stays as it is."""
    lower, upper = below.node, entry.node
    if not (isinstance(lower, ListNode) and isinstance(upper, ListNode) and upper.items):
        return entry
    return replace(entry, node=replace(upper, items=[*lower.items, *upper.items]))


def _merge_keys(base: MapNode, layer: MapNode) -> MapNode:
    """Merge mappings; replace everything else."""
    entries = dict(base.entries)
    for key, entry in layer.entries.items():
        below = entries.get(key)
        if below is not None and isinstance(below.node, MapNode) and isinstance(entry.node, MapNode):
            entry = Entry(entry.key, entry.span, _merge_keys(below.node, entry.node))
        entries[key] = entry
    return MapNode(layer.span, entries)


def _without_other_type(section: str, base: MapNode, layer: MapNode) -> MapNode:
    kind = _KIND_OF_SECTION.get(section)
    if kind is None or "type" not in layer.entries or _type(layer, kind) == _type(base, kind):
        return base
    kept = [name for option in kind.spec.common_options() for name in option.names]
    return MapNode(base.span, {key: base.entries[key] for key in kept if key in base.entries})


def _without_other_written_type(section: str, base: MapNode, layer: MapNode) -> MapNode:
    return _without_other_type(section, base, layer) if "type" in base.entries else base


def _type(section: MapNode, kind: Kind) -> object:
    if "type" not in section.entries:
        return kind.default_type
    node = section.entries["type"].node
    return expand(node, []).value if isinstance(node, Scalar) else None
