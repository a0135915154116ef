"""The reporter: problems in the form of a compiler's, as JSON, or as annotations of a code forge."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from dit_run.config.keys import key_name
from dit_run.problems import Place, Problem

__all__ = ["FORMATS", "as_github", "as_json", "as_text", "has_colours", "json_text", "print_problems"]

FORMATS = ("text", "json", "github")

_WIDEST = 120
_BOLD, _RESET = "\x1b[1m", "\x1b[0m"
_COLOURS = {"error": "\x1b[1;31m", "notice": "\x1b[1;36m", "place": "\x1b[1;34m", "help": "\x1b[1;32m"}


def print_problems(problems: Sequence[Problem], stream: TextIO | None = None) -> None:
    """Write problems as text to a stream (standard error), coloured where it is a terminal."""
    stream = stream or sys.stderr
    for problem in problems:
        print(as_text(problem, colours=has_colours(stream)), file=stream)


def has_colours(stream: TextIO) -> bool:
    """Whether the stream is a terminal whose user has not refused colours (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


# --------------------------------------------------------------------------------------------------------------- text


def as_text(problem: Problem, *, colours: bool = False) -> str:
    """The whole diagnostic, ended by an empty line."""
    paint = _painted if colours else _bare
    head = paint(f"{problem.severity}[{problem.code}]", problem.severity)
    lines = [f"{head}: {paint(_safe(problem.message), 'message')}"]
    places = [place for place in (problem.place, *problem.related_places) if place]
    gutter = max((len(str(place.line)) for place in places), default=1)
    for index, place in enumerate(places):
        lines += _snippet(
            place, gutter, first=index == 0, colour=problem.severity if index == 0 else "place", paint=paint
        )
    lines += [f"{' ' * gutter} {paint('= help:', 'help')} {_safe(line)}" for line in problem.help]
    return "\n".join(lines) + "\n"


def _snippet(place: Place, gutter: int, *, first: bool, colour: str, paint: Any) -> list[str]:
    """``--> file:line:column``, the line, and carets under the span; the place alone where there is no line."""
    lines = [f"{' ' * gutter}{paint('-->' if first else ':::', 'place')} {_safe(str(place))}"]
    if not place.text.strip():
        return lines
    text, column = _window(place)
    length = max(1, min(place.length, len(text) - column))
    marks = ("^" if first else "-") * max(1, _width(text[column : column + length]))
    bar = paint("|", "place")
    number = paint(f"{place.line:>{gutter}}", "place")
    return [
        *lines,
        f"{' ' * gutter} {bar}",
        f"{number} {bar} {_safe(text)}",
        f"{' ' * gutter} {bar} {_blank(text[:column])}{paint(marks, colour)}",
    ]


def _window(place: Place) -> tuple[str, int]:
    """The line, or the part of a long one around the span; and the column in it, from 0."""
    text, column = place.text.rstrip(), place.column - 1
    if len(text) <= _WIDEST:
        return text, column
    start = max(0, min(column - _WIDEST // 3, len(text) - _WIDEST))
    shown = text[start : start + _WIDEST]
    return shown, column - start


def _blank(text: str) -> str:
    """As wide as the text, tabs kept."""
    return "".join("\t" if character == "\t" else " " * _width(character) for character in text)


def _width(text: str) -> int:
    """Terminal cells."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _safe(text: str) -> str:
    """Without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _painted(text: str, role: str) -> str:
    return f"{_COLOURS.get(role, _BOLD)}{text}{_RESET}"


def _bare(text: str, role: str) -> str:
    return text


# ----------------------------------------------------------------------------------------------------------- machines


def as_json(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """Problems as plain values; lines and columns count from 1."""
    return [
        {
            "code": problem.code,
            "severity": problem.severity,
            "message": problem.message,
            "key": key_name(problem.path),
            "place": _place(problem.place),
            "related": [_place(place) for place in problem.related_places],
            "help": list(problem.help),
        }
        for problem in problems
    ]


def _place(place: Place | None) -> dict[str, Any] | None:
    if place is None:
        return None
    return {"source": place.source, "line": place.line, "column": place.column, "length": place.length}


def as_github(problem: Problem) -> str:
    """A workflow command that GitHub shows at the line."""
    level = "notice" if problem.severity == "notice" else "error"
    properties = {"title": problem.code}
    if problem.place:
        place = problem.place
        properties = {
            "file": place.source,
            "line": str(place.line),
            "col": str(place.column),
            "endColumn": str(place.column + place.length),
            **properties,
        }
    written = ",".join(f"{name}={_github(value, property_=True)}" for name, value in properties.items())
    return f"::{level} {written}::{_github(chr(10).join([problem.message, *problem.help]))}"


def _github(text: str, *, property_: bool = False) -> str:
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if property_ else text


def json_text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
