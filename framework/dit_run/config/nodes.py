"""Nodes: a config's values, each with the place that it came from."""

from __future__ import annotations

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
    """One text that values come from: a file, or the arguments of a command."""

    name: str
    """As the user knows it: the path as given, or ``command line``."""
    text: str
    lines: tuple[str, ...]
    directory: Path
    """What ``extends`` and ``plugins`` of this text are relative to."""


@dataclass(eq=False)
class Span:
    """From where to where in a source; line and column count from 0, the end is exclusive."""

    source: Source
    line: int
    column: int
    end_line: int
    end_column: int

    def place(self) -> Place:
        text = self.source.lines[self.line] if self.line < len(self.source.lines) else ""
        end = self.end_column if self.end_line == self.line else len(text.rstrip())
        return Place(self.source.name, self.line + 1, self.column + 1, max(1, end - self.column), text)


@dataclass(eq=False)
class Scalar:
    """A single value, already read by the rules of YAML 1.2."""

    span: Span
    value: str | int | float | bool | None
    plain: bool = False
    """Whether it was written without quotes."""
    broken: bool = False
    """Whether it has a problem already, so that its value says nothing."""


@dataclass(eq=False)
class ListNode:
    span: Span
    items: list[Node]


@dataclass(eq=False)
class Entry:
    """A key with its value."""

    key: str
    """As it was written: ``dataset_name`` stands in the map under ``type``."""
    span: Span
    node: Node


@dataclass(eq=False)
class MapNode:
    span: Span
    entries: dict[str, Entry] = field(default_factory=dict)


Node = Scalar | ListNode | MapNode


def value_of(node: Node) -> Any:
    """The node's value without places: dicts, lists and scalars."""
    if isinstance(node, MapNode):
        return {key: value_of(entry.node) for key, entry in node.entries.items()}
    if isinstance(node, ListNode):
        return [value_of(item) for item in node.items]
    return node.value


def walk(node: Node, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Node]]:
    """Every node with its path, from the root down, in the order written."""
    yield path, node
    if isinstance(node, MapNode):
        for key, entry in node.entries.items():
            yield from walk(entry.node, (*path, key))
    elif isinstance(node, ListNode):
        for index, item in enumerate(node.items):
            yield from walk(item, (*path, index))


def find(root: Node, path: KeyPath) -> tuple[Entry | None, Node]:
    """The deepest written entry and node on the way to a path; the root itself where nothing of it is written."""
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
    """Put another node in the place of the one at a path that exists."""
    parent = find(root, path[:-1])[1]
    if isinstance(parent, MapNode):
        entry = parent.entries[str(path[-1])]
        parent.entries[str(path[-1])] = Entry(entry.key, entry.span, node)
    elif isinstance(parent, ListNode):
        parent.items[int(path[-1])] = node
