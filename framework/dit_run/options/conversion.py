"""Conversion between options classes, JSON Schema, plain values and typed objects."""

from __future__ import annotations

import dataclasses
import functools
import math
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin

from dit_run.options.component_lists import ComponentsOf, HasPlainValues
from dit_run.options.constraints import HintError, Secret
from dit_run.options.docstrings import documentation
from dit_run.options.hint_schemas import hint_schema
from dit_run.options.relations import Condition, Formerly, InsteadOf

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
    formerly: tuple[str, ...] = ()
    """Old names of the key, which configs may still write."""

    @property
    def required(self) -> bool:
        return self.default is MISSING

    @property
    def names(self) -> tuple[str, ...]:
        """The name of the key, then its old ones."""
        return self.name, *self.formerly


MISSING: Any = dataclasses.MISSING
"""Default of a key that must be written."""


def options_of(cls: type) -> tuple[Option, ...]:
    """Return the config keys of an options class, in the order of its fields.

    Raises HintError if the class is not a frozen keyword-only dataclass, if a hint is not one of ``int``, ``float``,
    ``bool``, ``str``, ``Literal``, ``tuple[X, ...]``, ``tuple[X, X]``, ``Mapping[str, X]`` of scalars or lists X, any
    of these with ``| None``, ``Annotated``, a list of components (:func:`dit_run.options.components_of`), or if a
    secret has a default, a default is not finite, or two keys share a name.
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
    options = tuple(_option(cls, field, hints[field.name]) for field in dataclasses.fields(cls))
    _refuse_shared_names(cls, options)
    return options


def _refuse_shared_names(cls: type, options: Sequence[Option]) -> None:
    """Raise HintError for an old name of a key that is a name of another key too, or is no name at all."""
    names = [name for option in options for name in option.names]
    for option in options:
        for old in option.formerly:
            if not old.isidentifier() or names.count(old) > 1:
                fault = "is a name of another key too" if old.isidentifier() else "is no name of a key"
                raise HintError(f"{_name(cls)}.{option.name}: Formerly({old!r}) {fault}")


def _option(cls: type, field: dataclasses.Field[Any], hint: object) -> Option:
    where = f"{_name(cls)}.{field.name}"
    schema, markers = hint_schema(hint, where)
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
        formerly=tuple(former.name for former in _extras(hint, Formerly)),
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
