"""JSON Schema of the type hints of options classes."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from dit_run.options.component_lists import ComponentsOf
from dit_run.options.constraints import HintError, Limits, Marker
from dit_run.options.relations import Condition, Formerly, InsteadOf

__all__ = ["hint_schema"]

_SCALARS: dict[Any, str] = {int: "integer", float: "number", bool: "boolean", str: "string", types.NoneType: "null"}


def hint_schema(hint: Any, where: str, *, part: bool = False) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the JSON Schema (draft-07) of a type hint and the names of its markers.

    ``where`` names the field in HintError, which is raised for a hint that cannot be a config key. ``part`` is True for
    a hint inside another one, where relations to other keys would be lost.
    """
    if get_origin(hint) is Annotated:
        inner, *extras = get_args(hint)
        if any(isinstance(extra, ComponentsOf) for extra in extras):
            return {"type": "array", "items": {"type": "object"}, "minItems": 1}, frozenset()
        schema, markers = hint_schema(inner, where)
        for extra in extras:
            if isinstance(extra, Marker):
                markers |= {extra.name}
            elif isinstance(extra, Limits):
                target = schema["items"] if isinstance(schema.get("items"), dict) else schema
                _limit(target, extra, where)
            elif not isinstance(extra, Condition | InsteadOf | Formerly):
                raise HintError(f"{where}: Annotated takes bounds(...), markers and relations, not {extra!r}")
            elif part:
                raise HintError(f"{where}: {extra!r} holds for the whole key; write Annotated around all of the hint")
        return schema, markers
    if hint in _SCALARS:
        return {"type": _SCALARS[hint]}, frozenset()
    origin = get_origin(hint)
    if origin is Literal:
        return _literal(get_args(hint), where), frozenset()
    if origin is tuple:
        return _tuple(get_args(hint), where)
    if origin is Mapping:
        return _mapping(get_args(hint), where)
    if origin in (typing.Union, types.UnionType):
        return _union(get_args(hint), where)
    raise HintError(
        f"{where}: {hint!r} cannot be a config key; use int, float, bool, str, Literal, tuple, Mapping[str, X] or "
        "one of them | None"
    )


def _limit(schema: dict[str, Any], limits: Limits, where: str) -> None:
    kinds = {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
    for keyword, value in limits.keywords:
        wanted = {"string"} if keyword in ("pattern", "minLength") else {"integer", "number"}
        if not kinds & wanted:
            noun = "strings" if "string" in wanted else "numbers"
            raise HintError(f"{where}: bounds(...) gives {keyword}={value!r}, which limits {noun} only")
        schema[keyword] = value


def _literal(values: tuple[Any, ...], where: str) -> dict[str, Any]:
    if any(type(value) not in _SCALARS for value in values):
        raise HintError(f"{where}: a Literal holds strings, numbers, True, False and None, not {values!r}")
    kinds = sorted({_SCALARS[type(value)] for value in values})
    return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": list(values)}


def _tuple(args: tuple[Any, ...], where: str) -> tuple[dict[str, Any], frozenset[str]]:
    items, markers = hint_schema(args[0] if args else None, where, part=True)
    schema = {"type": "array", "items": items}
    if len(args) == 2 and args[1] is Ellipsis:
        return schema, markers
    if any(arg != args[0] for arg in args):
        raise HintError(f"{where}: a tuple of fixed length needs one hint for all its items")
    return schema | {"minItems": len(args), "maxItems": len(args)}, markers


def _mapping(args: tuple[Any, ...], where: str) -> tuple[dict[str, Any], frozenset[str]]:
    values, markers = hint_schema(args[1], where, part=True)
    if args[0] is not str or "additionalProperties" in values:
        raise HintError(
            f"{where}: a mapping has strings as keys and scalars or lists as values, as Mapping[str, float]"
        )
    return {"type": "object", "additionalProperties": values}, markers


def _union(args: tuple[Any, ...], where: str) -> tuple[dict[str, Any], frozenset[str]]:
    """Return one schema for ``X | None`` or ``int | str``: a draft-07 keyword only limits values of its own type."""
    parts = [hint_schema(arg, where, part=True) for arg in args]
    schema: dict[str, Any] = {}
    kinds: list[str] = []
    for part, _ in parts:
        kind = part.pop("type")
        kinds += [kind] if isinstance(kind, str) else kind
        if set(part) & set(schema):
            raise HintError(f"{where}: two members of the union have the same kind of limit")
        schema |= part
    if "enum" in schema:
        if any("enum" not in part and hint is not types.NoneType for (part, _), hint in zip(parts, args, strict=True)):
            raise HintError(f"{where}: a Literal can be joined with None only")
        schema["enum"] = [*schema["enum"], *([None] if "null" in kinds else [])]
    return {"type": kinds if len(kinds) > 1 else kinds[0], **schema}, frozenset().union(*(m for _, m in parts))
