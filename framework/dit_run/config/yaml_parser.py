"""Documents: bytes of YAML to nodes with places; hostile input is refused on the stream of events."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dit_run.config.nodes import Entry, ListNode, MapNode, Node, Scalar, Source, Span
from dit_run.config.scalars import NotFinite, read_scalar
from dit_run.problems import Place, Problem

__all__ = ["MAX_BYTES", "MAX_LEVELS", "MAX_NODES", "MAX_PROBLEMS", "parse", "read_source"]

MAX_BYTES = 256 * 1024
MAX_LEVELS = 32
MAX_NODES = 20_000
MAX_PROBLEMS = 500
"""No more are looked for: what has so many is no config."""

_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _DocumentRefused(Exception):
    """The rest of the document is not read."""


def read_source(content: bytes, name: str, directory: Path) -> tuple[Source, list[Problem]]:
    """The text of a file with its lines; problems where it is too large or not UTF-8."""
    empty = Source(name, "", (), directory)
    if len(content) > MAX_BYTES:
        message = f"the file is larger than {MAX_BYTES:,} bytes (256 KiB)"
        return empty, [Problem("too-large", message, place=Place(name, 1, 1))]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", "replace")
        lines = _BREAK.split(before)
        message = f"byte 0x{content[error.start]:02x} is not UTF-8"
        place = Place(name, len(lines), len(lines[-1]) + 1, 1, lines[-1])
        return empty, [Problem("not-utf-8", message, place=place, help=("save the file as UTF-8",))]
    return Source(name, text, tuple(_BREAK.split(text)), directory), []


def parse(source: Source) -> tuple[Node | None, list[Problem]]:
    """The root node of a source, None where there is no whole document; and its problems, in the order met."""
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
    text = source.lines[line] if line < len(source.lines) else ""
    context = f" {error.context}" if error.context else ""
    help_: tuple[str, ...] = ()
    if "\t" in text[: column + 1]:
        help_ = ("YAML is indented with spaces, not with tabs",)
    return Problem(
        "syntax",
        f"not YAML:{context}{',' if context else ''} {error.problem}",
        place=Place(source.name, line + 1, column + 1, 1, text),
        help=help_,
    )


def _position(error: yaml.MarkedYAMLError, source: Source) -> tuple[int, int]:
    """Where the fault is; one at the end of the text is where its construct began, or the last character."""
    for mark in (error.problem_mark, error.context_mark):
        if mark is not None and "".join(source.lines[mark.line :]).strip():
            return mark.line, mark.column
    last = max((number for number, line in enumerate(source.lines) if line.strip()), default=0)
    return last, max(0, len(source.lines[last].rstrip()) - 1)


def _control_characters(source: Source) -> list[Problem]:
    """Characters that YAML does not allow in any form."""
    found = _FORBIDDEN.search(source.text)
    if found is None:
        return []
    before = _BREAK.split(source.text[: found.start()])
    line, column = len(before), len(before[-1]) + 1
    place = Place(source.name, line, column, 1, source.lines[line - 1])
    return [Problem("control-character", f"character U+{ord(found.group()):04X} is not allowed in YAML", place=place)]


class _Composer:
    """Nodes from events; each event is checked before anything is made of it."""

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
                self._refuse("many-documents", "a config is one document", event, "remove '---' and what follows")
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
            self._refuse("too-deep", f"more than {MAX_LEVELS} levels", event, "a config needs four")
        node = self._list(event, events) if isinstance(event, yaml.SequenceStartEvent) else self._map(event, events)
        self._level -= 1
        return node

    def _check(self, event: Any) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            self._refuse("too-many-nodes", f"more than {MAX_NODES:,} values", event)
        if isinstance(event, yaml.AliasEvent):
            self._add("alias", f"aliases are not read: '*{event.anchor}'", event, "write the value again")
        elif event.anchor is not None:
            self._add("anchor", f"anchors are not read: '&{event.anchor}'", event, f"remove '&{event.anchor}'")
        if getattr(event, "tag", None) is not None:
            self._add("tag", f"tags are not read: {event.tag!r}", event, "remove the tag")

    def _scalar(self, event: Any) -> Scalar:
        span, text = self._span(event), event.value
        if "\0" in text:
            self._add("control-character", "a string cannot hold the character U+0000", event)
            return Scalar(span, None, broken=True)
        if event.tag is not None:
            return Scalar(span, text, broken=True)
        if event.style:
            return Scalar(span, text)
        try:
            return Scalar(span, read_scalar(text), plain=True)
        except NotFinite:
            shown = text if len(text) < 40 else text[:37] + "..."
            self._add("not-finite", f"{shown} is not a finite number", event, "write a finite number, or null for none")
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
                self._add("duplicate-key", f"'{key}' is written twice", following, related=(first,))
            else:
                node.entries[key] = Entry(key, span, value)
        self._close(node.span, following)
        return node

    def _key(self, event: Any, events: Iterator[Any]) -> str | None:
        """A key's text; None for one that cannot be a key, which is a problem."""
        if isinstance(event, yaml.ScalarEvent):
            self._check(event)
            if event.value == "<<" and not event.style:
                self._add("merge", "merges are not read: '<<'", event, "use 'extends:' to build on another file")
                return None
            return str(event.value)
        known = len(self.problems)
        self._node(event, events)
        if len(self.problems) == known:
            self._add("key", "a key is a word, not a list or mapping", event)
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
