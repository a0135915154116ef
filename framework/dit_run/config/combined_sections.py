"""Sections that are one component, or a list of components that work together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from dit_run.config.nodes import Entry, ListNode, MapNode
from dit_run.problems import Problem
from dit_run.registry.kinds import Kind

__all__ = ["partial_changes", "unwrap_single"]

_SECTIONS = tuple(kind.section for kind in Kind if kind.combines)


def unwrap_single(root: MapNode) -> None:
    """Replace each list of one component by the component: both mean the same."""
    for section in _SECTIONS:
        entry = root.entries.get(section)
        if entry is not None and isinstance(entry.node, ListNode) and len(entry.node.items) == 1:
            root.entries[section] = Entry(entry.key, entry.span, entry.node.items[0])


def partial_changes(roots: Sequence[MapNode]) -> Iterator[Problem]:
    """Yield a problem for each layer that changes keys of a list of components in a lower layer.

    The keys would replace the whole list by a component of the default type.
    """
    for section in _SECTIONS:
        written = [root.entries[section] for root in roots if section in root.entries]
        for below, entry in pairwise(written):
            partial = isinstance(entry.node, MapNode) and "type" not in entry.node.entries
            if isinstance(below.node, ListNode) and partial:
                yield Problem(
                    "part-of-a-list",
                    f"{section} is a list of {len(below.node.items)} components, and keys of one of them cannot be set "
                    "alone",
                    (section,),
                    entry.span.place(),
                    (f"write the whole list, or one component with its type: '{section}: {{type: ...}}'",),
                    related_places=(below.span.place(),),
                )
