"""Nodes: the values of a config, each with its place in the source."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dit_run.problems import KeyPath, Place

__all__ = [
    "COMMAND_LINE",
    "Entry",
    "ListNode",
    "MapNode",
    "Node",
    "Scalar",
    "Source",
    "Span",
    "find",
    "put_node",
    "value_of",
    "walk",
]

COMMAND_LINE = "command line"


@dataclass(frozen=True, eq=False)
class Source:
    """A text that holds values: a file, or the arguments of a command."""

    name: str
    """The path as the user wrote it, or ``command line``."""
    text: str
    lines: tuple[str, ...]
    directory: Path
    """Base of the relative paths in ``extends`` and ``plugins``."""

    def place(self, line: int, column: int, length: int = 1) -> Place:
        """Return the place of a line and column that count from 0."""
        text = self.lines[line] if line < len(self.lines) else ""
        return Place(self.name, line + 1, column + 1, length, text)


@dataclass(eq=False)
class Span:
    """A range in a source; line and column count from 0, the end is exclusive."""

    source: Source
    line: int
    column: int
    end_line: int
    end_column: int

    def place(self) -> Place:
        """Return the part of the range that lies on its first line."""
        place = self.source.place(self.line, self.column)
        end = self.end_column if self.end_line == self.line else len(place.text.rstrip())
        return dataclasses.replace(place, length=max(1, end - self.column))


@dataclass(eq=False)
class Scalar:
    """A single value, read by the rules of YAML 1.2."""

    span: Span
    value: str | int | float | bool | None
    plain: bool = False
    """True if the value was written without quotes."""
    broken: bool = False
    """True if a problem of this value is already reported; the value is then meaningless."""


@dataclass(eq=False)
class ListNode:
    span: Span
    items: list[Node]


@dataclass(eq=False)
class Entry:
    """A key with its value."""

    key: str
    """The key as written; an entry written as ``dataset_name`` is stored under ``type``."""
    span: Span
    node: Node


@dataclass(eq=False)
class MapNode:
    span: Span
    entries: dict[str, Entry] = field(default_factory=dict)


Node = Scalar | ListNode | MapNode


def value_of(node: Node) -> Any:
    """Return the value without places: dicts, lists and scalars."""
    if isinstance(node, MapNode):
        return {key: value_of(entry.node) for key, entry in node.entries.items()}
    if isinstance(node, ListNode):
        return [value_of(item) for item in node.items]
    return node.value


def walk(node: Node, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Node]]:
    """Yield every node with its path, parents first, in the order written."""
    yield path, node
    if isinstance(node, MapNode):
        for key, entry in node.entries.items():
            yield from walk(entry.node, (*path, key))
    elif isinstance(node, ListNode):
        for index, item in enumerate(node.items):
            yield from walk(item, (*path, index))


def find(root: Node, path: KeyPath) -> tuple[Entry | None, Node]:
    """Return the deepest entry and node that are written on the way to a path, at least the root."""
    entry: Entry | None = None
    node = root
    for step in path:
        if isinstance(node, MapNode) and step in node.entries:
            entry = node.entries[str(step)]
            node = entry.node
        elif isinstance(node, ListNode) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            break
    return entry, node


def put_node(root: Node, path: KeyPath, node: Node) -> None:
    """Replace the node at a path, which must exist."""
    parent = find(root, path[:-1])[1]
    if isinstance(parent, MapNode):
        entry = parent.entries[str(path[-1])]
        parent.entries[str(path[-1])] = Entry(entry.key, entry.span, node)
    elif isinstance(parent, ListNode):
        parent.items[int(path[-1])] = node
