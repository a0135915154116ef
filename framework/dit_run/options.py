"""Options: a frozen dataclass that is documentation, JSON Schema and typed object at once.

The fields of an options class are the keys of a config. A field's hint says what a key takes; constraints and
markers ride in ``Annotated``; the docstring under a field is its documentation. Every conversion between hints,
schema and values lives here, and a hint that this module does not know is refused with :class:`HintError`.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import math
import re
import textwrap
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

__all__ = [
    "HintError",
    "HubOrPath",
    "LocalPath",
    "NonNegativeFloat",
    "NonNegativeInt",
    "Operational",
    "Option",
    "PositiveFloat",
    "PositiveInt",
    "Probability",
    "Secret",
    "bounds",
    "build",
    "documentation",
    "options_of",
    "plain",
    "schema_of",
    "summary",
]

T = TypeVar("T")


class HintError(TypeError):
    """An options class has a field that cannot become a config key; the message names class, field and reason."""


@dataclass(frozen=True)
class Keywords:
    """JSON Schema keywords that narrow a value; made by :func:`bounds`."""

    pairs: tuple[tuple[str, Any], ...]


def bounds(
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    multiple_of: int | None = None,
    pattern: str | None = None,
    min_length: int | None = None,
) -> Keywords:
    """Limits of a value, for use inside ``Annotated``: ``Annotated[int, bounds(ge=1, multiple_of=8)]``.

    ``ge``/``gt``/``le``/``lt`` and ``multiple_of`` limit a number, ``pattern`` (unanchored regular expression)
    and ``min_length`` a string. On a tuple they limit its items. Raises HintError for a limit that no JSON Schema has.
    """
    numbers = {"ge": ge, "gt": gt, "le": le, "lt": lt}
    for name, value in numbers.items():
        _refuse_limit(name, value, isinstance(value, int | float) and math.isfinite(value), "a number")
    _refuse_limit("multiple_of", multiple_of, isinstance(multiple_of, int) and multiple_of > 0, "a number above 0")
    _refuse_limit("pattern", pattern, isinstance(pattern, str) and _is_pattern(pattern), "a regular expression")
    _refuse_limit("min_length", min_length, isinstance(min_length, int) and min_length >= 0, "a number of at least 0")
    named = {
        "minimum": ge,
        "exclusiveMinimum": gt,
        "maximum": le,
        "exclusiveMaximum": lt,
        "multipleOf": multiple_of,
        "pattern": pattern,
        "minLength": min_length,
    }
    return Keywords(tuple((name, value) for name, value in named.items() if value is not None))


def _refuse_limit(name: str, value: object, good: bool, expected: str) -> None:
    if value is not None and not good:
        raise HintError(f"bounds({name}={value!r}): expected {expected}")


def _is_pattern(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


@dataclass(frozen=True)
class Marker:
    """Something the engine knows about a key beyond the values it takes."""

    name: str


Operational = Marker("operational")
"""The key may change when a run continues: it does not change what is learnt."""
Secret = Marker("secret")
"""The value is kept out of everything a run writes; there it stays ``${env:…}``."""
LocalPath = Marker("local_path")
"""A path, relative to the working directory; a run's own config has it absolute."""
HubOrPath = Marker("hub_or_path")
"""A name on a model hub, or a local path, which is what it is taken for when it exists."""

PositiveInt = Annotated[int, bounds(ge=1)]
NonNegativeInt = Annotated[int, bounds(ge=0)]
PositiveFloat = Annotated[float, bounds(gt=0)]
NonNegativeFloat = Annotated[float, bounds(ge=0)]
Probability = Annotated[float, bounds(ge=0, le=1)]


@dataclass(frozen=True)
class Option:
    """One config key, as read from one field of an options class."""

    name: str
    hint: Any
    default: Any
    """The default in plain YAML values; ``MISSING`` where the key must be written."""
    schema: Mapping[str, Any]
    """JSON Schema of its value, without documentation."""
    markers: frozenset[str]

    @property
    def required(self) -> bool:
        return self.default is MISSING


MISSING: Any = dataclasses.MISSING

_SCALARS: dict[Any, str] = {int: "integer", float: "number", bool: "boolean", str: "string", types.NoneType: "null"}


def options_of(cls: type) -> tuple[Option, ...]:
    """The config keys of an options class, in the order of its fields.

    Raises HintError when the class is no frozen keyword-only dataclass or a hint is not one of: ``int``, ``float``,
    ``bool``, ``str``, ``Literal``, ``tuple[X, ...]``, ``tuple[X, X]``, any of these with ``| None``, ``Annotated``.
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


def _option(cls: type, field: dataclasses.Field[Any], hint: Any) -> Option:
    where = f"{_name(cls)}.{field.name}"
    schema, markers = _schema(hint, where)
    default = field.default_factory() if callable(field.default_factory) else field.default
    return Option(field.name, hint, default if default is MISSING else _plain(default), schema, markers)


def _schema(hint: Any, where: str) -> tuple[dict[str, Any], frozenset[str]]:
    if get_origin(hint) is Annotated:
        inner, *extras = get_args(hint)
        schema, markers = _schema(inner, where)
        for extra in extras:
            if isinstance(extra, Marker):
                markers |= {extra.name}
            elif isinstance(extra, Keywords):
                target = schema["items"] if isinstance(schema.get("items"), dict) else schema
                _limit(target, extra, where)
            else:
                raise HintError(f"{where}: Annotated takes bounds(...) and markers, not {extra!r}")
        return schema, markers
    if hint in _SCALARS:
        return {"type": _SCALARS[hint]}, frozenset()
    origin = get_origin(hint)
    if origin is Literal:
        return _literal(get_args(hint), where), frozenset()
    if origin is tuple:
        return _tuple(get_args(hint), where)
    if origin in (typing.Union, types.UnionType):
        return _union(get_args(hint), where)
    raise HintError(
        f"{where}: {hint!r} cannot be a config key; use int, float, bool, str, Literal, tuple or one of them | None"
    )


def _limit(schema: dict[str, Any], limits: Keywords, where: str) -> None:
    kinds = {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
    for keyword, value in limits.pairs:
        wanted = {"string"} if keyword in ("pattern", "minLength") else {"integer", "number"}
        if not kinds & wanted:
            noun = "strings" if "string" in wanted else "numbers"
            raise HintError(f"{where}: bounds(...) gives {keyword}={value!r}, which limits {noun}, and this is none")
        schema[keyword] = value


def _literal(values: tuple[Any, ...], where: str) -> dict[str, Any]:
    if any(type(value) not in _SCALARS for value in values):
        raise HintError(f"{where}: a Literal holds strings, numbers, truth values and None, not {values!r}")
    kinds = sorted({_SCALARS[type(value)] for value in values})
    return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": list(values)}


def _tuple(args: tuple[Any, ...], where: str) -> tuple[dict[str, Any], frozenset[str]]:
    items, markers = _schema(args[0] if args else None, where)
    schema = {"type": "array", "items": items}
    if len(args) == 2 and args[1] is Ellipsis:
        return schema, markers
    if any(arg != args[0] for arg in args):
        raise HintError(f"{where}: a tuple of fixed length has one hint for all its items")
    return schema | {"minItems": len(args), "maxItems": len(args)}, markers


def _union(args: tuple[Any, ...], where: str) -> tuple[dict[str, Any], frozenset[str]]:
    """``X | None``, ``int | str`` and the like as one schema: draft-07 keywords only bind values of their own type."""
    parts = [_schema(arg, where) for arg in args]
    schema: dict[str, Any] = {}
    kinds: list[str] = []
    for part, _ in parts:
        kind = part.pop("type")
        kinds += [kind] if isinstance(kind, str) else kind
        if set(part) & set(schema):
            raise HintError(f"{where}: two members of the union have limits of one sort")
        schema |= part
    if "enum" in schema:
        if any("enum" not in part and hint is not types.NoneType for (part, _), hint in zip(parts, args, strict=True)):
            raise HintError(f"{where}: a Literal can be joined with None only")
        schema["enum"] = [*schema["enum"], *([None] if "null" in kinds else [])]
    return {"type": kinds if len(kinds) > 1 else kinds[0], **schema}, frozenset().union(*(m for _, m in parts))


def schema_of(cls: type, *, documented: bool = False) -> dict[str, dict[str, Any]]:
    """JSON Schema (draft-07) of each key of an options class, defaults included; with ``documented`` its docstrings."""
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
    """The typed object for values that the schema accepts; keys left out take their defaults.

    Lists become tuples, integral floats become ints where an int is asked for, ints become floats where a float is.
    Raises TypeError for a key that the class does not have or a required one that is missing.
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
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and "integer" in kinds and "number" not in kinds and value.is_integer():
        return int(value)
    if isinstance(value, int) and "number" in kinds:
        return float(value)
    return value


def plain(options: Any) -> dict[str, Any]:
    """The options as plain YAML values: tuples become lists, the order is that of the fields."""
    return {field.name: _plain(getattr(options, field.name)) for field in dataclasses.fields(options)}


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


@functools.cache
def documentation(cls: type) -> dict[str, str]:
    """The docstring under each field, read from source (base classes first); empty where there is no source."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        texts |= _field_docstrings(base)
    return texts


def _field_docstrings(cls: type) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = typing.cast(ast.ClassDef, tree.body[0]).body
    texts = {}
    for node, following in itertools.pairwise(body):
        match node, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = inspect.cleandoc(text)
    return texts


def summary(cls: type) -> str:
    """The docstring of an options class; empty when it has only the one that dataclasses writes."""
    text = cls.__doc__ or ""
    return "" if text.startswith(f"{cls.__name__}(") else inspect.cleandoc(text)


def _name(cls: Any) -> str:
    return f"{cls.__module__}.{cls.__qualname__}" if isinstance(cls, type) else repr(cls)
