"""Options classes: what a hint becomes, what values become, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from dit_run.options import (
    HintError,
    HubOrPath,
    LocalPath,
    NonNegativeFloat,
    NonNegativeInt,
    Operational,
    PositiveFloat,
    PositiveInt,
    Probability,
    Secret,
    bounds,
    build,
    documentation,
    options_of,
    plain,
    schema_of,
    summary,
)


@dataclass(frozen=True, kw_only=True)
class Base:
    """What every sample of options has."""

    seed: int = 1
    """The base's words."""


@dataclass(frozen=True, kw_only=True)
class Sample(Base):
    """A sample.

    With a second paragraph.
    """

    path: Annotated[str, LocalPath]
    """Where it lies,
    on two lines."""
    rate: PositiveFloat = 1e-4
    size: Annotated[int, bounds(ge=8, multiple_of=8)] = 64
    """Side."""
    mode: Literal["a", "b"] = "a"
    level: Literal[1, 2, None] = None
    betas: Annotated[tuple[float, float], bounds(ge=0, lt=1)] = (0.9, 0.999)
    names: tuple[str, ...] = field(default_factory=tuple)
    limit: Annotated[PositiveInt | None, Operational] = None
    key: Annotated[str | None, Secret] = None
    word: int | str = "auto"
    flag: bool = False


def schema(hint: Any) -> dict[str, Any]:
    made = dataclass(frozen=True, kw_only=True)(type("Made", (), {"__annotations__": {"x": hint}}))
    return dict(options_of(made)[0].schema)


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (str, {"type": "string"}),
        (str | None, {"type": ["string", "null"]}),
        (PositiveInt, {"type": "integer", "minimum": 1}),
        (NonNegativeInt, {"type": "integer", "minimum": 0}),
        (PositiveFloat, {"type": "number", "exclusiveMinimum": 0}),
        (NonNegativeFloat, {"type": "number", "minimum": 0}),
        (Probability, {"type": "number", "minimum": 0, "maximum": 1}),
        (Probability | None, {"type": ["number", "null"], "minimum": 0, "maximum": 1}),
        (Annotated[int | None, bounds(lt=5)], {"type": ["integer", "null"], "exclusiveMaximum": 5}),
        (Annotated[str, bounds(pattern="^a", min_length=1)], {"type": "string", "pattern": "^a", "minLength": 1}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Literal["a", "b"] | None, {"type": ["string", "null"], "enum": ["a", "b", None]}),
        (Literal[1, "a"], {"type": ["integer", "string"], "enum": [1, "a"]}),
        (tuple[str, ...], {"type": "array", "items": {"type": "string"}}),
        (tuple[int, int], {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}),
        (tuple[PositiveInt, ...] | None, {"type": ["array", "null"], "items": {"type": "integer", "minimum": 1}}),
        (PositiveInt | str, {"type": ["integer", "string"], "minimum": 1}),
        (
            Mapping[str, PositiveFloat],
            {"type": "object", "additionalProperties": {"type": "number", "exclusiveMinimum": 0}},
        ),
        (
            Mapping[str, int | float | tuple[int | float, ...] | None],
            {
                "type": "object",
                "additionalProperties": {
                    "type": ["integer", "number", "array", "null"],
                    "items": {"type": ["integer", "number"]},
                },
            },
        ),
    ],
)  # fmt: skip
def test_the_schema_of_a_hint(hint: Any, expected: dict[str, Any]) -> None:
    assert schema(hint) == expected


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (dict[str, int], "cannot be a config key"),
        (list[int], "cannot be a config key"),
        (Any, "cannot be a config key"),
        (tuple[int, str], "needs one hint for all its items"),
        (Annotated[int, "hello"], "Annotated takes bounds(...), markers and relations, not 'hello'"),
        (Mapping[int, int], "a mapping has strings as keys and scalars or lists as values"),
        (Mapping[str, Mapping[str, int]], "a mapping has strings as keys and scalars or lists as values"),
        (Literal[b"x"], "a Literal holds strings, numbers, True, False and None"),
        (Literal["a"] | int, "a Literal can be joined with None only"),
        (PositiveInt | NonNegativeFloat, "the same kind of limit"),
        (Annotated[str, bounds(ge=1)], "minimum=1, which limits numbers only"),
        (Annotated[int, bounds(pattern="x")], "pattern='x', which limits strings only"),
        ("Nowhere", "cannot be resolved: name 'Nowhere' is not defined"),
    ],
)
def test_a_hint_that_is_not_known_is_refused_by_name(hint: Any, words: str) -> None:
    with pytest.raises(HintError) as caught:
        schema(hint)
    assert words in str(caught.value)
    assert "Made" in str(caught.value)


def test_a_class_must_be_a_frozen_keyword_only_dataclass() -> None:
    class Plain:
        x: int = 1

    @dataclass
    class Thawed:
        x: int = 1

    with pytest.raises(HintError, match="is not a dataclass"):
        options_of(Plain)
    with pytest.raises(HintError, match="must be declared with @dataclass"):
        options_of(Thawed)


def test_markers_and_defaults() -> None:
    options = {option.name: option for option in options_of(Sample)}
    assert options["path"].required
    assert options["path"].markers == {"local_path"}
    assert options["limit"].markers == {"operational"}
    assert options["key"].markers == {"secret"}
    assert options["betas"].default == [0.9, 0.999]
    assert options["names"].default == []
    assert next(iter(options)) == "seed"


def test_markers_do_not_mix() -> None:
    assert schema(Annotated[str, HubOrPath]) == {"type": "string"}


def test_values_become_what_the_hints_say() -> None:
    values = {"path": "x", "rate": 1, "size": 16.0, "betas": [0, 0.5], "names": ["a"], "limit": 5e2, "word": 3}
    made = build(Sample, values)
    assert repr((made.rate, made.size, made.betas, made.names, made.limit, made.word)) == (
        "(1.0, 16, (0.0, 0.5), ('a',), 500, 3)"
    )


def test_numbers_of_either_kind_stay_as_they_are() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Arguments:
        config: Mapping[str, int | float | tuple[int | float, ...]]

    made = build(Arguments, {"config": {"a": 2, "b": 2.0, "c": [1, 1.5]}})
    assert repr(made.config) == "{'a': 2, 'b': 2.0, 'c': (1, 1.5)}"
    assert plain(made) == {"config": {"a": 2, "b": 2.0, "c": [1, 1.5]}}


def test_unknown_and_missing_values_are_errors() -> None:
    with pytest.raises(TypeError, match="has no option colour"):
        build(Sample, {"path": "x", "colour": 1})
    with pytest.raises(TypeError, match="path"):
        build(Sample, {})


def test_plain_values_go_back() -> None:
    made = build(Sample, {"path": "x", "betas": [0.1, 0.2]})
    assert plain(made)["betas"] == [0.1, 0.2]
    assert build(Sample, plain(made)) == made


def test_documentation_is_the_docstring_under_the_field() -> None:
    texts = documentation(Sample)
    assert texts == {"seed": "The base's words.", "path": "Where it lies,\non two lines.", "size": "Side."}
    assert schema_of(Sample, documented=True)["size"]["description"] == "Side."
    assert "description" not in schema_of(Sample)["size"]


def test_documentation_of_a_class_without_source_is_empty() -> None:
    namespace: dict[str, Any] = {}
    exec(
        "from dataclasses import dataclass\n@dataclass(frozen=True, kw_only=True)\nclass X:\n    y: int = 1", namespace
    )
    assert documentation(namespace["X"]) == {}
    assert summary(namespace["X"]) == ""


def test_summary_is_the_class_docstring() -> None:
    assert summary(Sample) == "A sample.\n\nWith a second paragraph."


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_default_is_a_number_that_a_checkpoint_can_hold(value: float) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Limitless:
        one: float = 1.0
        limit: float = value

    @dataclass(frozen=True, kw_only=True)
    class Pair:
        betas: tuple[float, float] = (0.9, value)

    with pytest.raises(HintError, match=r"the default .* of .*Limitless\.limit cannot be written"):
        options_of(Limitless)
    with pytest.raises(HintError, match=r"Pair\.betas cannot be written"):
        options_of(Pair)


def test_a_secret_has_no_default_that_could_be_written_out() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Leaking:
        token: Annotated[str, Secret] = "hunter2"

    @dataclass(frozen=True, kw_only=True)
    class Tight:
        one: Annotated[str | None, Secret] = None
        two: Annotated[str, Secret] = ""
        three: Annotated[str, Secret]

    with pytest.raises(HintError, match=r"Leaking\.token is a secret, and its default would be written") as caught:
        options_of(Leaking)
    assert "hunter2" not in str(caught.value)
    assert [option.name for option in options_of(Tight)] == ["one", "two", "three"]
