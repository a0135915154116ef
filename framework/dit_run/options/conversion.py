"""Conversion between the hints of an options class, JSON Schema, plain values and typed objects."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from dit_run.options.component_lists import ComponentsOf, HasPlainValues
from dit_run.options.constraints import HintError, Limits, Marker, Secret
from dit_run.options.docstrings import documentation
from dit_run.options.relations import Condition, InsteadOf

__all__ = ["MISSING", "Option", "build", "options_of", "plain", "schema_of"]

T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """A config key: a field of an options class."""

    name: str
    hint: Any
    default: Any
    """The default as a plain YAML value; ``MISSING`` for a key that must be written."""
    schema: Mapping[str, Any]
    """JSON Schema of the value, without documentation."""
    markers: frozenset[str]
    conditions: tuple[Condition, ...] = ()
    """The key has an effect only if all of them hold."""
    instead_of: str | None = None
    """The key of the same mapping that this one is another form of."""
    components: ComponentsOf | None = None
    """The components that the option holds; None for an option of plain values."""

    @property
    def required(self) -> bool:
        return self.default is MISSING


MISSING: Any = dataclasses.MISSING

_SCALARS: dict[Any, str] = {int: "integer", float: "number", bool: "boolean", str: "string", types.NoneType: "null"}


def options_of(cls: type) -> tuple[Option, ...]:
    """Return the config keys of an options class, in the order of its fields.

    Raises HintError if the class is not a frozen keyword-only dataclass, if a hint is not one of ``int``, ``float``,
    ``bool``, ``str``, ``Literal``, ``tuple[X, ...]``, ``tuple[X, X]``, ``Mapping[str, X]`` of scalars or lists X, any
    of these with ``| None``, ``Annotated``, a list of components (:func:`dit_run.options.components_of`), or if a
    secret has a default or a default is not finite.
    """
    return _options_of(cls)


@functools.cache
def _options_of(cls: type) -> tuple[Option, ...]:
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise HintError(f"{_name(cls)} is not a dataclass; write @dataclass(frozen=True, kw_only=True) above it")
    if not cls.__dataclass_params__.frozen or not all(f.kw_only for f in dataclasses.fields(cls)):  # type: ignore[attr-defined]
        raise HintError(f"{_name(cls)} must be declared with @dataclass(frozen=True, kw_only=True)")
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        raise HintError(f"the hints of {_name(cls)} cannot be resolved: {error}") from error
    return tuple(_option(cls, field, hints[field.name]) for field in dataclasses.fields(cls))


def _option(cls: type, field: dataclasses.Field[Any], hint: object) -> Option:
    where = f"{_name(cls)}.{field.name}"
    schema, markers = _schema(hint, where)
    default = field.default_factory() if callable(field.default_factory) else field.default
    if Secret.name in markers and default is not MISSING and default:
        raise HintError(
            f"{where} is a secret, and its default would be written into the schema and into every run; "
            "use the default None or no default, and let configs write ${env:NAME}"
        )
    if default is not MISSING and not all(map(math.isfinite, _floats(default))):
        raise HintError(
            f"the default {default!r} of {where} cannot be written into a config or a checkpoint; use a finite number, "
            "or None for no limit"
        )
    return Option(
        name=field.name,
        hint=hint,
        default=default if default is MISSING else _plain(default),
        schema=schema,
        markers=markers,
        conditions=tuple(_extras(hint, Condition)),
        instead_of=next((relation.key for relation in _extras(hint, InsteadOf)), None),
        components=next(_extras(hint, ComponentsOf), None),
    )


def _floats(value: object) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, tuple | list | Mapping):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _floats(item)


def _extras(hint: Any, kind: type[T]) -> Iterator[T]:
    """Yield what ``Annotated`` adds to the outermost hint, of one kind."""
    yield from (extra for extra in get_args(hint)[1:] if get_origin(hint) is Annotated and isinstance(extra, kind))


def _schema(hint: Any, where: str) -> tuple[dict[str, Any], frozenset[str]]:
    if get_origin(hint) is Annotated:
        inner, *extras = get_args(hint)
        if any(isinstance(extra, ComponentsOf) for extra in extras):
            return {"type": "array", "items": {"type": "object"}, "minItems": 1}, frozenset()
        schema, markers = _schema(inner, where)
        for extra in extras:
            if isinstance(extra, Marker):
                markers |= {extra.name}
            elif isinstance(extra, Limits):
                target = schema["items"] if isinstance(schema.get("items"), dict) else schema
                _limit(target, extra, where)
            elif not isinstance(extra, Condition | InsteadOf):
                raise HintError(f"{where}: Annotated takes bounds(...), markers and relations, not {extra!r}")
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
    items, markers = _schema(args[0] if args else None, where)
    schema = {"type": "array", "items": items}
    if len(args) == 2 and args[1] is Ellipsis:
        return schema, markers
    if any(arg != args[0] for arg in args):
        raise HintError(f"{where}: a tuple of fixed length needs one hint for all its items")
    return schema | {"minItems": len(args), "maxItems": len(args)}, markers


def _mapping(args: tuple[Any, ...], where: str) -> tuple[dict[str, Any], frozenset[str]]:
    values, markers = _schema(args[1], where)
    if args[0] is not str or "additionalProperties" in values:
        raise HintError(
            f"{where}: a mapping has strings as keys and scalars or lists as values, as Mapping[str, float]"
        )
    return {"type": "object", "additionalProperties": values}, markers


def _union(args: tuple[Any, ...], where: str) -> tuple[dict[str, Any], frozenset[str]]:
    """Return one schema for ``X | None`` or ``int | str``: a draft-07 keyword only limits values of its own type."""
    parts = [_schema(arg, where) for arg in args]
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


def schema_of(cls: type, *, documented: bool = False) -> dict[str, dict[str, Any]]:
    """Return the JSON Schema (draft-07) of each key of an options class, with defaults and, if asked, docstrings."""
    texts = documentation(cls) if documented else {}
    result: dict[str, dict[str, Any]] = {}
    for option in options_of(cls):
        entry: dict[str, Any] = {"description": texts[option.name]} if option.name in texts else {}
        entry |= option.schema
        if not option.required:
            entry["default"] = option.default
        result[option.name] = entry
    return result


def build(cls: type[T], values: Mapping[str, Any]) -> T:
    """Return the typed object for values that the schema accepts; missing keys take their defaults.

    Lists become tuples; for an ``int`` option 5.0 becomes 5, for a ``float`` option 5 becomes 5.0. Raises TypeError for
    an unknown key, and for a missing one that must be written.
    """
    known = {option.name: option for option in options_of(cls)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise TypeError(f"{_name(cls)} has no option {', '.join(unknown)}")
    return cls(**{name: _typed(known[name].schema, value) for name, value in values.items()})


def _typed(schema: Mapping[str, Any], value: Any) -> Any:
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if isinstance(value, list | tuple):
        return tuple(_typed(schema["items"], item) for item in value)
    if isinstance(value, Mapping):
        return {key: _typed(schema["additionalProperties"], item) for key, item in value.items()}
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and "integer" in kinds and "number" not in kinds and value.is_integer():
        return int(value)
    if isinstance(value, int) and "number" in kinds and "integer" not in kinds:
        return float(value)
    return value


def plain(options: Any) -> dict[str, Any]:
    """Return the options as plain YAML values in the order of the fields.

    Tuples become lists, mappings and components dicts.
    """
    return {field.name: _plain(getattr(options, field.name)) for field in dataclasses.fields(options)}


def _plain(value: Any) -> Any:
    if isinstance(value, HasPlainValues):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _name(cls: object) -> str:
    return f"{cls.__module__}.{cls.__qualname__}" if isinstance(cls, type) else repr(cls)
