"""The reporter: diagnostics as text, JSON and annotations."""

from __future__ import annotations

import io

import pytest

from dit_run.cli.problem_rendering import as_github, as_json, as_text, print_problems
from dit_run.problems import Place, Problem


def at(text: str, column: int, length: int = 1, line: int = 1) -> Place:
    return Place("a.yaml", line, column, length, text)


def test_a_problem_without_a_place() -> None:
    assert (
        as_text(Problem("code", "what is wrong", help=("do this",)))
        == "error[code]: what is wrong\n  = help: do this\n"
    )


def test_the_gutter_fits_the_largest_line_number() -> None:
    problem = Problem("code", "m", place=at("x: 1", 1, line=9), related_places=(at("y: 1", 4, line=120),))
    assert as_text(problem) == (
        "error[code]: m\n"
        "   --> a.yaml:9:1\n"
        "    |\n"
        "  9 | x: 1\n"
        "    | ^\n"
        "   ::: a.yaml:120:4\n"
        "    |\n"
        "120 | y: 1\n"
        "    |    -\n"
    )


@pytest.mark.parametrize(
    ("text", "column", "length", "pointer"),
    [
        ("a: 一只猫 x", 8, 1, "  |           ^"),
        ("a: 一只猫 x", 4, 3, "  |    ^^^^^^"),
        ("\ta: x", 5, 1, "  | \t   ^"),
        ("e\u0301: x", 5, 1, "  |    ^"),
        ("a: x", 5, 1, "  |     ^"),
    ],
)
def test_the_caret_stands_under_the_span(text: str, column: int, length: int, pointer: str) -> None:
    assert as_text(Problem("code", "m", place=at(text, column, length))).splitlines()[-1] == pointer


def test_a_long_line_is_shown_in_part() -> None:
    place = at("x" * 500 + "WRONG" + "y" * 500, 501, 5)
    _, _, _, line, pointer = as_text(Problem("code", "m", place=place)).splitlines()
    assert len(line) < 130
    start = pointer.index("^")
    assert line[start : start + 5] == "WRONG"
    assert pointer.count("^") == 5


def test_control_characters_never_reach_a_terminal() -> None:
    text = as_text(Problem("code", "evil \x1b[2J", place=at("a: \x1b]0;x\x07", 4), help=("\x1b[31m",)))
    assert "\x1b" not in text
    assert "\x07" not in text


def test_colours() -> None:
    text = as_text(Problem("code", "m", place=at("a: 1", 4)), colours=True)
    assert text.splitlines()[0] == "\x1b[1;31merror[code]\x1b[0m: \x1b[1mm\x1b[0m"


def test_a_stream_that_is_no_terminal_gets_no_colours() -> None:
    stream = io.StringIO()
    print_problems([Problem("code", "m", severity="notice")], stream)
    assert stream.getvalue() == "notice[code]: m\n\n"


def test_errors_of_codes_that_the_docs_have_end_with_a_command() -> None:
    stream = io.StringIO()
    problems = [Problem("wrong-type", "m"), Problem("of-a-plugin", "m"), Problem("moved-run", "m", severity="notice")]
    print_problems([*problems, problems[0]], stream)
    assert stream.getvalue().splitlines()[-1] == "what the code means: dit-run explain wrong-type"
    print_problems([problems[1]], stream := io.StringIO())
    assert stream.getvalue() == "error[of-a-plugin]: m\n\n"


def test_json_values() -> None:
    problem = Problem("code", "m", ("trackers", 0, "type"), at("a: 1", 4, 2), ("h",), related_places=(at("b", 1),))
    assert as_json([problem]) == [
        {
            "code": "code",
            "severity": "error",
            "message": "m",
            "key": "trackers[0].type",
            "place": {"source": "a.yaml", "line": 1, "column": 4, "length": 2},
            "related": [{"source": "a.yaml", "line": 1, "column": 1, "length": 1}],
            "help": ["h"],
        }
    ]
    assert as_json([Problem("code", "m")])[0]["place"] is None


def test_github_annotations() -> None:
    place = Place("a,b:c.yaml", 3, 5, 2, "x")
    assert as_github(Problem("code", "50% of\nit", place=place, help=("do: this",))) == (
        "::error file=a%2Cb%3Ac.yaml,line=3,col=5,endColumn=7,title=code::50%25 of%0Ait%0Ado: this"
    )
    assert as_github(Problem("code", "m", severity="notice")) == "::notice title=code::m"
