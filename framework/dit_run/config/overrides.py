"""Overrides: ``section.key=value`` arguments, parsed as one layer with the columns of the command line."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from dit_run.config.merge import join
from dit_run.config.nodes import COMMAND_LINE, Entry, MapNode, Node, Scalar, Source, Span
from dit_run.config.old_keys import rename_old_keys
from dit_run.config.yaml_parser import parse
from dit_run.problems import Problem

__all__ = ["parse_overrides"]


def parse_overrides(arguments: Sequence[str], name: str = COMMAND_LINE) -> tuple[Source, MapNode | None, list[Problem]]:
    """Return the arguments as a source of one line each, their merged root and their problems.

    ``name`` is the name of the source. The root is None if a value is not YAML.
    """
    source = Source(name, "", tuple(arguments), Path())
    roots: list[MapNode] = []
    problems: list[Problem] = []
    complete = True
    for number, argument in enumerate(arguments):
        refused = _refused(number, argument, source)
        if refused is not None:
            problems.append(refused)
            continue
        key, _, text = argument.partition("=")
        value, found = _value(number, len(key) + 1, text, source)
        complete = complete and value is not None
        if value is not None:
            root = _nested(key.split("."), value, source, number)
            found += rename_old_keys(root)
            roots.append(root)
        problems += found
    empty = MapNode(Span(source, 0, 0, 0, 0))
    return source, functools.reduce(join, roots, empty) if complete else None, problems


def _refused(number: int, argument: str, source: Source) -> Problem | None:
    """Return a problem for an argument that is not of the form ``section.key=value``."""
    key, equals, _ = argument.partition("=")
    name = key.partition("[")[0]
    if not equals or not all(key.split(".")) or len(argument.splitlines()) > 1:
        message = f"'{argument}' is not an argument of the form section.key=value"
        help_ = "write the key, '=' and the value on one line, such as training.batch_size=8"
    elif key.split(".")[0] == "extends":
        message = "extends cannot be set on the command line"
        help_ = "write 'extends: FILE' into the config file"
    elif name != key:
        message = f"an item of the list {name} cannot be set alone"
        help_ = f"set the whole list, such as {name}=[a, b]"
    else:
        return None
    place = source.place(number, 0, max(1, len(argument)))
    return Problem("bad-argument", message, place=place, help=(help_,))


def _value(number: int, column: int, text: str, source: Source) -> tuple[Node | None, list[Problem]]:
    """Parse the value of an argument, padded so that its line and column are those of the argument."""
    padded = "\n" * number + " " * column + text
    value, problems = parse(Source(source.name, padded, source.lines, source.directory))
    if value is None and not problems:
        end = column + len(text)
        value = Scalar(Span(source, number, end, number, end), None, plain=True)
    return value, problems


def _nested(steps: list[str], value: Node, source: Source, number: int) -> MapNode:
    """Return the value below its keys, each with its own column."""
    column = sum(len(step) + 1 for step in steps)
    node = value
    for step in reversed(steps):
        column -= len(step) + 1
        span = Span(source, number, column, number, column + len(step))
        node = MapNode(span, {step: Entry(step, span, node)})
    assert isinstance(node, MapNode)
    return node
