"""Hypothesis strategies: valid values and configs, made from the options themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from dit_run.config.keys import component_options, nested_components
from dit_run.options import ComponentsOf, Option, options_of
from dit_run.registry.components import Component, Kind
from dit_run.registry.registry import Registry
from dit_run.settings import SECTIONS

_ANY = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)
TEXT = _ANY.filter(lambda text: not text.startswith("~")) | st.sampled_from(  # a path in the home of nobody is refused
    [
        "no",
        "1e-4",
        "0o17",
        "12:30",
        "~",
        "${env:HOME}",
        "$${x}",
        "a: b",
        "- a",
        "#",
        "é\u2028",
        "&a",
        "*a",
        "!t",
        ".inf",
    ]
)


def value(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a schema accepts."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    return st.one_of(*(_one(kind, schema) for kind in kinds))


def _one(kind: str, schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    if kind == "null":
        return st.none()
    if kind == "boolean":
        return st.booleans()
    if kind == "integer":
        return _integers(schema)
    if kind == "number":
        return _numbers(schema)
    if kind == "array":
        sizes = {"min_size": schema.get("minItems", 0), "max_size": schema.get("maxItems", 3)}
        return st.lists(value(schema["items"]), **sizes)
    if kind == "object":
        return st.dictionaries(TEXT.filter(bool), value(schema["additionalProperties"]), max_size=2)
    if "pattern" in schema:
        return st.from_regex(schema["pattern"].replace("$", r"\Z"))
    return TEXT.filter(lambda text: len(text) >= schema.get("minLength", 0))


def _integers(schema: Mapping[str, Any]) -> st.SearchStrategy[int]:
    unit = schema.get("multipleOf", 1)
    low = schema.get("minimum", -1000)
    high = schema.get("maximum", min(schema.get("exclusiveMaximum", 10**6) - 1, 10**6))
    return st.integers(-(-low // unit), high // unit).map(lambda number: number * unit)


def _numbers(schema: Mapping[str, Any]) -> st.SearchStrategy[float]:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    return st.floats(
        min_value=above if low is None else low,
        max_value=below if high is None else high,
        exclude_min=above is not None,
        exclude_max=below is not None,
        allow_nan=False,
        allow_infinity=False,
    )


def _keys(options: tuple[Option, ...], registry: Registry) -> st.SearchStrategy[dict[str, Any]]:
    """Any selection of keys, in any order."""
    strategies = {o.name: _option(o, registry) for o in options if "secret" not in o.markers}
    required = {o.name: strategies.pop(o.name) for o in options if o.required}
    return st.fixed_dictionaries(required, optional=strategies).flatmap(_shuffled)


def _option(option: Option, registry: Registry) -> st.SearchStrategy[Any]:
    place = option.components
    if place is None:
        return value(option.schema)
    inside = nested_components(registry, place).values()
    return st.lists(st.one_of([_component(each, registry, place) for each in inside]), min_size=1, max_size=2)


def _shuffled(values: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.permutations(list(values)).map(lambda names: {name: values[name] for name in names})


def configs(registry: Registry) -> st.SearchStrategy[dict[str, Any]]:
    """Configs as plain values that the schema accepts; rules may still refuse them."""
    sections = {name: _keys(options_of(cls), registry) for name, cls in SECTIONS.items()}
    for kind in Kind:
        choices = [_component(component, registry) for component in registry.components(kind).values()]
        one = st.one_of(choices)
        sections[kind.section] = st.lists(one, max_size=2) if kind.listed else one
        if not choices:
            del sections[kind.section]
    return st.fixed_dictionaries({}, optional=sections).flatmap(_shuffled)


def _component(
    component: Component, registry: Registry, place: ComponentsOf | None = None
) -> st.SearchStrategy[dict[str, Any]]:
    return _keys(component_options(component, place), registry).map(lambda keys: {"type": component.type, **keys})
