"""Documents: what is read, what is refused, and where."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dit_run.config.nodes import value_of
from dit_run.config.yaml_parser import MAX_BYTES, MAX_LEVELS, MAX_NODES, parse, read_source
from dit_run.problems import Problem


def read(content: str | bytes) -> tuple[object, list[Problem]]:
    content = content if isinstance(content, bytes) else content.encode()
    source, problems = read_source(content, "c.yaml", Path())
    if problems:
        return None, problems
    root, problems = parse(source)
    return (None if root is None else value_of(root)), problems


def refused(content: str | bytes) -> list[tuple[str, str]]:
    return [(problem.code, str(problem.place)) for problem in read(content)[1]]


def test_values_keep_their_types() -> None:
    assert read("a: 1e-4\nb: [no, 'true', 010]\nc: {d: ~}\n") == (
        {"a": 1e-4, "b": ["no", "true", 10], "c": {"d": None}},
        [],
    )


def test_keys_are_words_whatever_they_look_like() -> None:
    assert read("on: 1\nnull: 2\n3: 4\n") == ({"on": 1, "null": 2, "3": 4}, [])


@pytest.mark.parametrize(
    ("content", "code", "place"),
    [
        ("a: 1\na: 2\n", "duplicate-key", "c.yaml:2:1"),
        ("a: &x 1\n", "anchor", "c.yaml:1:4"),
        ("a: !!int 1\n", "tag", "c.yaml:1:4"),
        ("a: ! 1\n", "tag", "c.yaml:1:4"),
        ("a: !!python/object:os.system x\n", "tag", "c.yaml:1:4"),
        ("a:\n  <<: {b: 1}\n", "merge", "c.yaml:2:3"),
        ("a: -.inf\n", "not-finite", "c.yaml:1:4"),
        ("a: [1, .nan]\n", "not-finite", "c.yaml:1:8"),
        ("? [a]\n: 1\n", "key", "c.yaml:1:3"),
        ("a: 1\r\nb: .inf\r\n", "not-finite", "c.yaml:2:4"),
        ("a: 'x\u2028y'\nb: .inf\n", "not-finite", "c.yaml:3:4"),
        ("a: 1\n---\nb: 2\n", "many-documents", "c.yaml:2:1"),
        ("a: 1\n\tb: 2\n", "syntax", "c.yaml:2:1"),
        ("a: [1\n", "syntax", "c.yaml:1:4"),
        ("é: [\x07]\n", "control-character", "c.yaml:1:5"),
        ('a: "x\\0y"\n', "control-character", "c.yaml:1:4"),
        ("ok: 1\nname: é".encode("latin-1"), "not-utf-8", "c.yaml:2:7"),
        ("a: 1\n".encode("utf-16"), "not-utf-8", "c.yaml:1:1"),
        (b"#" * (MAX_BYTES + 1), "too-large", "c.yaml:1:1"),
    ],
)
def test_refused_at_its_place(content: str | bytes, code: str, place: str) -> None:
    assert refused(content) == [(code, place)]


INDENT = "indent the key like the ones above"
COLON = "write one key on a line, and quotes around a text that holds ': '"


@pytest.mark.parametrize(
    ("content", "help_"),
    [
        ("a:\n  b: 1\n   c: 2\n", (INDENT,)),
        ("a: 1\n  b:\n    c: 2\n", (INDENT,)),
        ("a:\n    b: 1\n  c: 2\n", (INDENT,)),
        ("a:\n  b: c: 1\n", (COLON,)),
        ("a: b: c\n", (COLON,)),
        ("a: [1\n", ()),
    ],
)
def test_invalid_yaml_is_explained(content: str, help_: tuple[str, ...]) -> None:
    assert [problem.help for problem in read(content)[1]] == [help_]


def test_an_alias_is_refused_beside_its_anchor() -> None:
    assert refused("a: &x 1\nb: *x\n") == [("anchor", "c.yaml:1:4"), ("alias", "c.yaml:2:4")]


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    began = time.process_time()
    assert len(refused("\n".join(lines))) == 30 + 29 * 9
    assert time.process_time() - began < 1


def test_levels_are_limited_before_anything_is_composed() -> None:
    assert refused("[" * 200_000) == [("too-deep", f"c.yaml:1:{MAX_LEVELS + 1}")]
    assert read("[" * MAX_LEVELS + "]" * MAX_LEVELS)[1] == []


def test_nodes_are_limited() -> None:
    assert read("[" + "1," * (MAX_NODES - 1) + "]")[1] == []
    assert [code for code, _ in refused("[" + "1," * MAX_NODES + "]")] == ["too-many-nodes"]


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert read("\ufeffa: 1\n") == ({"a": 1}, [])


def test_a_span_covers_the_value_on_its_line(problems: Callable[..., list[Problem]]) -> None:
    (problem,) = problems("training:\n  batch_size: 'x y'  # why\n")
    assert problem.place is not None
    assert (problem.place.column, problem.place.length, problem.place.text) == (15, 5, "  batch_size: 'x y'  # why")
