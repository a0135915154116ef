"""Problems as compiler-style text, as JSON, or as annotations for GitHub."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from dit_run.config.code_texts import code_texts
from dit_run.config.keys import key_name
from dit_run.problems import Place, Problem

__all__ = ["FORMATS", "as_github", "as_json", "as_text", "has_colours", "json_text", "print_problems", "value_text"]

FORMATS = ("text", "json", "github")

_WIDEST = 120
_BOLD, _RESET = "\x1b[1m", "\x1b[0m"
_COLOURS = {"error": "\x1b[1;31m", "notice": "\x1b[1;36m", "place": "\x1b[1;34m", "help": "\x1b[1;32m"}


def print_problems(problems: Sequence[Problem], stream: TextIO | None = None) -> None:
    """Write problems as text to a stream (default: standard error), in colour if it is a terminal.

    After errors comes the command that explains their codes.
    """
    stream = stream or sys.stderr
    for problem in problems:
        print(as_text(problem, colours=has_colours(stream)), file=stream)
    codes = dict.fromkeys(problem.code for problem in problems if problem.severity == "error")
    explained = [code for code in codes if code in code_texts()]
    if explained:
        words = "the codes mean" if len(explained) > 1 else "the code means"
        print(f"what {words}: dit-run explain {' '.join(explained)}", file=stream)


def has_colours(stream: TextIO) -> bool:
    """Return True for a terminal whose user has not refused colours (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


# --------------------------------------------------------------------------------------------------------------- text


def as_text(problem: Problem, *, colours: bool = False) -> str:
    """Return the whole diagnostic, which ends with an empty line."""
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
    """Return ``--> file:line:column``, the line, and carets under the span; for an empty line the place alone."""
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
    """Return the line, or the part of a long line around the span, and the column in it, from 0."""
    text, column = place.text.rstrip(), place.column - 1
    if len(text) <= _WIDEST:
        return text, column
    start = max(0, min(column - _WIDEST // 3, len(text) - _WIDEST))
    shown = text[start : start + _WIDEST]
    return shown, column - start


def _blank(text: str) -> str:
    """Return blanks as wide as the text, and its tabs."""
    return "".join("\t" if character == "\t" else " " * _width(character) for character in text)


def _width(text: str) -> int:
    """Return the width of a text in terminal cells."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _safe(text: str) -> str:
    """Replace control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _painted(text: str, role: str) -> str:
    return f"{_COLOURS.get(role, _BOLD)}{text}{_RESET}"


def _bare(text: str, role: str) -> str:
    return text


# ----------------------------------------------------------------------------------------------------------- machines


def as_json(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """Return problems as plain values; lines and columns count from 1."""
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
    """Return a workflow command that GitHub shows at the line."""
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


def value_text(value: object) -> str:
    """Return a value of a config as JSON, and a text that is not empty without quotes."""
    plain = isinstance(value, bool | int | float | list | dict | None) or value == ""
    return json.dumps(value, ensure_ascii=False) if plain else str(value)
