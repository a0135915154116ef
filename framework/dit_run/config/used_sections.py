"""Configs of which only some components are used: sampling needs no optimizer, and its plugin may be gone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from dit_run.config.keys import KINDS_BY_SECTION, TOP_LEVEL
from dit_run.config.nodes import Entry, ListNode, MapNode
from dit_run.registry.kinds import Kind

__all__ = ["Used", "keep_used", "unused_keys"]


@dataclass(frozen=True)
class Used:
    """The parts of a config that are read; components of other sections are replaced by their defaults."""

    sections: frozenset[str]
    """Sections whose components are built."""
    plugin_files: bool
    """True if the config's plugin files are loaded."""


def keep_used(root: MapNode, used: Used) -> None:
    """Remove the components that are not used, and the plugin files where none is, before they are checked.

    The keys that are common to all types of a kind stay, such as ``data.image_size``.
    """
    if not used.plugin_files:
        root.entries.pop("plugins", None)
    for kind in Kind:
        entry = root.entries.get(kind.section)
        if entry is None or kind.section in used.sections:
            continue
        if kind.listed:
            entry.node = ListNode(entry.node.span, [])
        elif isinstance(entry.node, MapNode) and kind.spec.common:
            entry.node.entries = dict(_common(kind, entry.node))
        else:
            del root.entries[kind.section]


def _common(kind: Kind, node: MapNode) -> Iterator[tuple[str, Entry]]:
    names = {name for option in kind.spec.common_options() for name in option.names}
    return ((key, entry) for key, entry in node.entries.items() if key in names)


def unused_keys(overrides: Sequence[str], sections: Collection[str]) -> list[str]:
    """Return the keys of ``key=value`` arguments that only concern sections which are not used."""
    keys = [override.partition("=")[0] for override in overrides]
    return [key for key in keys if not _is_used(key.split("."), sections)]


def _is_used(steps: Sequence[str], sections: Collection[str]) -> bool:
    kind = KINDS_BY_SECTION.get(steps[0])
    if steps[0] in sections or steps[0] not in TOP_LEVEL:
        return True
    options = kind.spec.common_options() if kind is not None else ()
    return len(steps) > 1 and any(steps[1] in option.names for option in options)
