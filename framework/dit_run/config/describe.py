"""Descriptions of expected and received values for messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dit_run.options import Option

__all__ = ["expected", "meaning", "received"]

_LONGEST = 60
_NOUNS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "a string",
    "null": "null",
    "object": "a mapping",
    "array": "a list",
}
_LIMITS = {
    "minimum": "of at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}


def expected(schema: Mapping[str, Any]) -> str:
    """Describe the values that a schema accepts: ``a whole number of at least 1 or null``."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    if "enum" in schema:
        return _either([_word(value) for value in schema["enum"]])
    parts = [_one(kind, schema) for kind in kinds if kind != "null"]
    return " or ".join([*parts, *(["null"] if "null" in kinds else [])])


def _one(kind: str, schema: Mapping[str, Any]) -> str:
    if kind in ("integer", "number"):
        return _NOUNS[kind] + _limits(schema)
    if kind == "array":
        return _list(schema)
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"a mapping, each value {expected(schema['additionalProperties'])}"
    if kind == "string" and schema.get("minLength"):
        least = schema["minLength"]
        return "a string that is not empty" if least == 1 else f"a string of at least {least} characters"
    if kind == "string" and "pattern" in schema:
        return f"a string that matches {schema['pattern']}"
    return _NOUNS[kind]


def _list(schema: Mapping[str, Any]) -> str:
    least = schema.get("minItems")
    count = "" if least is None else f" of {'' if least == schema.get('maxItems') else 'at least '}{least}"
    items = schema.get("items")
    return f"a list{count}" + (f", each {expected(items)}" if items and items.get("type") != "object" else "")


def _limits(schema: Mapping[str, Any]) -> str:
    phrases = [f"{words} {_number(schema[keyword])}" for keyword, words in _LIMITS.items() if keyword in schema]
    limits = " " + " and ".join(phrases) if phrases else ""
    multiple = f", a multiple of {schema['multipleOf']}" if "multipleOf" in schema else ""
    return limits + multiple


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _either(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _word(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else received(value)


def received(value: Any) -> str:
    """Describe a value that came: ``the string 'abc'``, ``null``, ``a list of 3``."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f"the string '{_short(value)}'"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    return "a mapping" if isinstance(value, dict) else _short(str(value))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def meaning(option: Option, text: str) -> str:
    """Return the documentation of a key on one line, with its old names."""
    former = "".join(f" Formerly `{name}`." for name in option.formerly)
    return " ".join(text.split()) + former
