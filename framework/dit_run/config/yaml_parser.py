"""The YAML parser: bytes to nodes with line and column.

Input is read as a stream of events and refused early, so that no hostile file can exhaust memory or the stack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dit_run.config.nodes import Entry, ListNode, MapNode, Node, Scalar, Source, Span
from dit_run.config.yaml_scalars import NotFinite, read_scalar
from dit_run.problems import Place, Problem

__all__ = ["MAX_BYTES", "MAX_LEVELS", "MAX_NODES", "MAX_PROBLEMS", "parse", "read_source"]

MAX_BYTES = 256 * 1024
MAX_LEVELS = 32
MAX_NODES = 20_000
MAX_PROBLEMS = 500
"""Limit of reported problems: a file with more is not a config."""

_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INDENTED_KEY = re.compile(r" +[^\s:]+")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _DocumentRefused(Exception):
    """Stops the parser; the problem is already in its list."""


def read_source(content: bytes, name: str, directory: Path) -> tuple[Source, list[Problem]]:
    """Decode a file and split it into lines; return a problem if it is too large or not UTF-8."""
    empty = Source(name, "", (), directory)
    if len(content) > MAX_BYTES:
        message = f"the file is larger than {MAX_BYTES:,} bytes (256 KiB)"
        help_ = ("a config has a few kilobytes; check the path",)
        return empty, [Problem("too-large", message, place=empty.place(0, 0), help=help_)]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        lines = _BREAK.split(content[: error.start].decode("utf-8-sig", "replace"))
        place = Source(name, "", tuple(lines), directory).place(len(lines) - 1, len(lines[-1]))
        message = f"byte 0x{content[error.start]:02x} is not valid UTF-8"
        return empty, [Problem("not-utf-8", message, place=place, help=("save the file as UTF-8",))]
    return Source(name, text, tuple(_BREAK.split(text)), directory), []


def parse(source: Source) -> tuple[Node | None, list[Problem]]:
    """Return the root node, or None if the document is not complete, and the problems in the order of the text."""
    forbidden = _control_characters(source)
    if forbidden:
        return None, forbidden
    composer = _Composer(source)
    try:
        return composer.document(), composer.problems
    except _DocumentRefused:
        return None, composer.problems
    except yaml.MarkedYAMLError as error:
        return None, [*composer.problems, _syntax(error, source)]


def _syntax(error: yaml.MarkedYAMLError, source: Source) -> Problem:
    line, column = _position(error, source)
    place = source.place(line, column)
    context = f"{error.context}, " if error.context else ""
    help_: tuple[str, ...] = ()
    if "\t" in place.text[: column + 1]:
        help_ = ("indent YAML with spaces, not with tabs",)
    elif _is_misplaced_key(place.text, column, str(error.problem)):
        help_ = ("indent the key like the ones above",)
    elif "mapping values" in str(error.problem):
        help_ = ("write one key on a line, and quotes around a text that holds ': '",)
    return Problem("syntax", f"invalid YAML: {context}{error.problem}", place=place, help=help_)


def _is_misplaced_key(line: str, column: int, problem: str) -> bool:
    """Return True if the first key of a line stands further right or left than the keys before it."""
    if "mapping values" in problem:  # the place is that of the colon
        return _INDENTED_KEY.fullmatch(line[:column]) is not None
    return "expected key" in problem and column > 0 and not line[:column].strip()


def _position(error: yaml.MarkedYAMLError, source: Source) -> tuple[int, int]:
    """Return where the error is, or where its construct began if the error is at the end of the text."""
    for mark in (error.problem_mark, error.context_mark):
        if mark is not None and "".join(source.lines[mark.line :]).strip():
            return mark.line, mark.column
    last = max((number for number, line in enumerate(source.lines) if line.strip()), default=0)
    return last, max(0, len(source.lines[last].rstrip()) - 1)


def _control_characters(source: Source) -> list[Problem]:
    """Return a problem for the first character that YAML does not allow in any form."""
    found = _FORBIDDEN.search(source.text)
    if found is None:
        return []
    before = _BREAK.split(source.text[: found.start()])
    place = source.place(len(before) - 1, len(before[-1]))
    message = f"character U+{ord(found.group()):04X} is not allowed in YAML"
    return [Problem("control-character", message, place=place, help=("remove the character",))]


class _Composer:
    """Builds nodes from YAML events and checks each event first."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self._count = 0
        self._level = 0

    def document(self) -> Node | None:
        events = yaml.parse(self.source.text, Loader=_LOADER)
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                message = "a config is one YAML document, but a second one begins here"
                self._refuse("many-documents", message, event, "remove '---' and everything after it")
            elif isinstance(event, yaml.NodeEvent):
                root = self._node(event, events)
        return root

    def _node(self, event: Any, events: Iterator[Any]) -> Node:
        self._check(event)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.AliasEvent):
            return Scalar(self._span(event), None, broken=True)
        self._level += 1
        if self._level > MAX_LEVELS:
            message = f"values are nested more than {MAX_LEVELS} levels deep"
            self._refuse("too-deep", message, event, "a config needs four levels; remove the extra brackets")
        node = self._list(event, events) if isinstance(event, yaml.SequenceStartEvent) else self._map(event, events)
        self._level -= 1
        return node

    def _check(self, event: Any) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            message = f"the file has more than {MAX_NODES:,} values"
            self._refuse("too-many-nodes", message, event, "a config has a few hundred; check the path")
        if isinstance(event, yaml.AliasEvent):
            message = f"YAML aliases are not supported: '*{event.anchor}'"
            self._add("alias", message, event, "write the value here again")
        elif event.anchor is not None:
            anchor = f"'&{event.anchor}'"
            self._add("anchor", f"YAML anchors are not supported: {anchor}", event, f"remove {anchor}")
        if getattr(event, "tag", None) is not None:
            self._add("tag", f"YAML tags are not supported: {event.tag!r}", event, "remove the tag")

    def _scalar(self, event: Any) -> Scalar:
        span, text = self._span(event), event.value
        if "\0" in text:
            self._add("control-character", "a string must not contain U+0000", event, "remove it")
            return Scalar(span, None, broken=True)
        if event.tag is not None:
            return Scalar(span, text, broken=True)
        if event.style:
            return Scalar(span, text)
        try:
            return Scalar(span, read_scalar(text), plain=True)
        except NotFinite:
            shown = text if len(text) < 40 else text[:37] + "..."
            self._add("not-finite", f"{shown} is not a finite number", event, "write a finite number")
            return Scalar(span, None, broken=True)

    def _list(self, event: Any, events: Iterator[Any]) -> ListNode:
        node = ListNode(self._span(event), [])
        while not isinstance(following := next(events), yaml.SequenceEndEvent):
            node.items.append(self._node(following, events))
        self._close(node.span, following)
        return node

    def _map(self, event: Any, events: Iterator[Any]) -> MapNode:
        node = MapNode(self._span(event))
        while not isinstance(following := next(events), yaml.MappingEndEvent):
            key, span = self._key(following, events), self._span(following)
            value = self._node(next(events), events)
            if key is None:
                continue
            if key in node.entries:
                first = node.entries[key].span.place()
                message = f"the key '{key}' is written twice"
                self._add("duplicate-key", message, following, "remove one of the two", related=(first,))
            else:
                node.entries[key] = Entry(key, span, value)
        self._close(node.span, following)
        return node

    def _key(self, event: Any, events: Iterator[Any]) -> str | None:
        """Return the text of a key, or None after adding a problem if it is not a word."""
        if isinstance(event, yaml.ScalarEvent):
            self._check(event)
            if event.value == "<<" and not event.style:
                message = "YAML merge keys are not supported: '<<'"
                self._add("merge", message, event, "use 'extends:' to build on another file")
                return None
            return str(event.value)
        known = len(self.problems)
        self._node(event, events)
        if len(self.problems) == known:
            self._add("key", "a key must be a word, not a list or a mapping", event)
        return None

    def _span(self, event: Any) -> Span:
        start, end = event.start_mark, event.end_mark
        return Span(self.source, start.line, start.column, end.line, end.column)

    @staticmethod
    def _close(span: Span, event: Any) -> None:
        span.end_line, span.end_column = event.end_mark.line, event.end_mark.column

    def _add(self, code: str, message: str, event: Any, *help_: str, related: tuple[Place, ...] = ()) -> None:
        place = self._span(event).place()
        self.problems.append(Problem(code, message, place=place, help=help_, related_places=related))
        if len(self.problems) == MAX_PROBLEMS:
            raise _DocumentRefused

    def _refuse(self, code: str, message: str, event: Any, *help_: str) -> None:
        self._add(code, message, event, *help_)
        raise _DocumentRefused
