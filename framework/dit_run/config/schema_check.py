"""The check against the schema: each wrong value or key of a config as a problem at its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import jsonschema

from dit_run.config.describe import expected, received
from dit_run.config.keys import KINDS_BY_SECTION, component_options, key_name
from dit_run.config.nodes import COMMAND_LINE, MapNode, Node, Scalar, find, value_of
from dit_run.config.suggestions import did_you_mean
from dit_run.config.written_options import Written, written_options
from dit_run.config.yaml_parser import MAX_PROBLEMS
from dit_run.options import Option, options_of
from dit_run.problems import KeyPath, Place, Problem
from dit_run.registry.components import Kind
from dit_run.registry.registry import Registry, UnknownType
from dit_run.settings import SECTIONS

__all__ = ["CODES", "schema_problems", "unknown_type"]

CODES = {
    "type": "wrong-type",
    "enum": "bad-choice",
    "minimum": "out-of-bounds",
    "exclusiveMinimum": "out-of-bounds",
    "maximum": "out-of-bounds",
    "exclusiveMaximum": "out-of-bounds",
    "multipleOf": "not-a-multiple",
    "pattern": "bad-form",
    "minLength": "bad-form",
    "minItems": "wrong-length",
    "maxItems": "wrong-length",
}
"""The code of a problem by the keyword of the schema that refuses the value."""
_MOST_NAMED = 40
_WHOLE = 2**63
"""Limit of all whole numbers: positions, sizes and counts are signed 64-bit integers."""


def schema_problems(root: MapNode, schema: Mapping[str, Any], registry: Registry) -> list[Problem]:
    """Check the merged nodes against the schema; return at most one problem for each key."""
    values = {kind.section: {} for kind in Kind if kind.default_type} | value_of(root)
    checker = _Checker(root, values, registry)
    errors = jsonschema.Draft7Validator(schema).iter_errors(values)
    found: dict[KeyPath, Problem] = {}
    problems = chain(chain.from_iterable(map(checker.problems, errors)), checker.too_large())
    for problem in islice(problems, MAX_PROBLEMS):
        found.setdefault(problem.path, problem)
    return list(found.values())


class _Checker:
    def __init__(self, root: MapNode, values: Mapping[str, Any], registry: Registry) -> None:
        self.root = root
        self.values = values
        self.registry = registry
        self.written = list(written_options(root, registry))

    def problems(self, error: jsonschema.ValidationError) -> Iterator[Problem]:
        path: KeyPath = tuple(error.absolute_path)
        schema: Any = error.schema
        value: Any = error.instance
        node = find(self.root, path)[1]
        if isinstance(node, Scalar) and node.broken:
            return
        if error.validator == "additionalProperties":
            yield from self._unknown_keys(path, schema, value)
        elif error.validator == "required":
            yield from self._missing_keys(path, schema, value)
        elif path[-1:] == ("type",) and error.validator in ("enum", "not"):
            yield self._unknown_type(path, str(value), error.validator_value, node)
        else:
            yield self._bad_value(path, CODES[str(error.validator)], schema, value)

    def too_large(self) -> Iterator[Problem]:
        """Yield a problem for each whole number that does not fit 64 bits."""
        for written in self.written:
            section = value_of(written.node)
            for option in written.options:
                value = section.get(option.name)
                if "number" not in option.schema["type"] and isinstance(value, int | float) and abs(value) >= _WHOLE:
                    limited = {**option.schema, "exclusiveMaximum": _WHOLE}
                    yield self._bad_value((*written.path, option.name), "out-of-bounds", limited, value)

    def _component(self, path: KeyPath) -> Written | None:
        """Return the innermost written component that a path lies in."""
        around = (
            each for each in reversed(self.written) if each.kind is not None and path[: len(each.path)] == each.path
        )
        return next(around, None)

    def _unknown_type(self, path: KeyPath, type_: str, allowed: Any, node: Node) -> Problem:
        written = self._component(path)
        kind = KINDS_BY_SECTION[str(path[0])] if written is None or written.kind is None else written.kind
        if len(self.registry.rivals(kind, type_)) == 1:
            help_ = (f"the types here are: {', '.join(allowed)}",)
            message = f"a {kind.spec.title} '{type_}' holds others and cannot be inside of one"
            return Problem("unknown-type", message, path, node.span.place(), help_)
        return unknown_type(kind, type_, self.registry, path, node.span.place(), allowed)

    # ------------------------------------------------------------------------------------------------------- values

    def _bad_value(self, path: KeyPath, code: str, schema: Mapping[str, Any], value: Any) -> Problem:
        entry, node = find(self.root, path)
        if len(path) == 1 and value is None:
            fill = f"write its keys below it, indented, or remove '{path[0]}:'"
            return Problem("empty-section", f"section {path[0]} is empty", path, (entry or node).span.place(), (fill,))
        name = key_name(path) if len(path) == 1 else self._typed_name(path)
        message = f"{name} takes {expected(schema)}, not {received(value)}"
        help_ = self._type_help(path, schema, node) or _value_help(value, schema, node)
        return Problem(code, message, path, node.span.place(), help_)

    def _type_help(self, path: KeyPath, schema: Mapping[str, Any], node: Node) -> tuple[str, ...]:
        """Return the right form for a type that is written in place of its component: ``lr_scheduler: constant``."""
        kind = KINDS_BY_SECTION.get(str(path[0]))
        type_ = value_of(node)
        if kind is None or "properties" not in schema or type_ not in self.registry.types(kind):
            return ()
        if len(path) > 1:
            return (f"write {{type: {type_}}}",)
        argument = node.span.source.name == COMMAND_LINE
        return (f"write {kind.section}.type={type_}" if argument else f"write '{kind.section}: {{type: {type_}}}'",)

    def _typed_name(self, path: KeyPath) -> str:
        """Return the name of a key with the type of its component: ``data.image_size (coco)``."""
        type_ = self._type(path) if path[-1] != "type" else None
        return f"{key_name(path)} ({type_})" if type_ else key_name(path)

    # --------------------------------------------------------------------------------------------------------- keys

    def _unknown_keys(self, path: KeyPath, schema: Mapping[str, Any], value: Mapping[str, Any]) -> Iterator[Problem]:
        allowed = [name for name in schema["properties"] if name != "dataset_name"]
        names = ", ".join(allowed[:_MOST_NAMED])
        listed = f"{key_name(path)} takes: {names}" if path else f"the sections are: {names}"
        for key in value:
            if key not in schema["properties"]:
                message = f"{self._typed_name(path)} has no key '{key}'" if path else f"there is no section '{key}'"
                entry, node = find(self.root, (*path, key))
                help_ = (*did_you_mean(key, allowed), *self._owners(path, key), listed)
                yield Problem("unknown-key", message, (*path, key), (entry or node).span.place(), help_)

    def _owners(self, path: KeyPath, key: str) -> tuple[str, ...]:
        """Return a line of help with the types or sections that have the key."""
        written = self._component(path)
        if written is not None and written.kind is not None:
            components = self.registry.components(written.kind)
            if len(path) > 2 and _has(written.kind.spec.common_options(), key):
                return (f"'{key}' is a key of {path[0]} for all of its {path[-2]}",)
            owners = [type_ for type_, c in components.items() if _has(component_options(c), key)]
            if owners:
                return (f"'{key}' is a key of {written.kind} {' and '.join(owners)}",)
        sections = [str(each.path[0]) for each in self.written if len(each.path) == 1 and _has(each.options, key)]
        sections += [name for name, options in self._defaults() if _has(options, key)]
        return (f"'{key}' is a key of {' and '.join(sections)}",) if sections else ()

    def _defaults(self) -> Iterator[tuple[str, Sequence[Option]]]:
        """Yield the sections that are not written, with their options."""
        for name, cls in SECTIONS.items():
            if name not in self.root.entries:
                yield name, options_of(cls)
        for kind in Kind:
            if kind.section not in self.root.entries and kind.default_type in self.registry.types(kind):
                yield kind.section, component_options(self.registry.component(kind, kind.default_type))

    def _missing_keys(self, path: KeyPath, schema: Mapping[str, Any], value: Mapping[str, Any]) -> Iterator[Problem]:
        entry, node = find(self.root, path)
        place = entry.span.place() if entry and not isinstance(path[-1], int) else node.span.place()
        for key in schema["required"]:
            if key not in value:
                message = f"{self._typed_name(path)} needs the key '{key}'"
                wanted = expected(schema["properties"][key])
                help_ = (f"write '{key}:' with {wanted}",) if wanted else ()
                yield Problem("missing-key", message, (*path, key), place, help_)

    def _type(self, path: KeyPath) -> str | None:
        """Return the type of the component that a path lies in, as written or by default."""
        written = self._component(path)
        if written is not None:
            return written.type
        kind = KINDS_BY_SECTION.get(str(path[0])) if path else None
        return kind.default_type if kind is not None and self.values.get(kind.section) == {} else None


def unknown_type(
    kind: Kind,
    type_: str,
    registry: Registry,
    path: KeyPath,
    place: Place | None,
    allowed: Sequence[str] | None = None,
) -> Problem:
    """Return the problem of a type that no plugin offers, or that two offer; ``allowed`` are the types to propose."""
    try:
        registry.component(kind, type_)
    except UnknownType as error:
        if error.rivals:
            return Problem("ambiguous-type", str(error), path, place)
    known = allowed if isinstance(allowed, list) else registry.types(kind)
    help_ = [*did_you_mean(type_, known), f"the types are: {', '.join(known) or 'none'}"]
    help_ += [f"plugin {p} did not load: {p.failure.message}" for p in registry.failed if p.failure]
    return Problem("unknown-type", f"there is no {kind.spec.title} '{type_}'", path, place, tuple(help_))


def _has(options: Iterable[Option], key: str) -> bool:
    return any(option.name == key for option in options)


def _value_help(value: Any, schema: Mapping[str, Any], node: Node) -> tuple[str, ...]:
    """Return what to write instead, for the usual mistakes."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "enum" in schema and isinstance(value, str):
        return did_you_mean(value, [word for word in schema["enum"] if isinstance(word, str)])
    if isinstance(value, str) and "boolean" in kinds and value.lower() in ("yes", "no", "on", "off", "y", "n"):
        return (f"YAML 1.2 reads '{value}' as a string: write true or false",)
    if isinstance(value, str) and {"integer", "number"} & set(kinds):
        return _number_help(value, node)
    if "string" in kinds and isinstance(value, bool | int | float):
        return ("put it in quotes",)
    if kinds == ["array"] and not isinstance(value, list):
        return ("write it as a list: [a, b], or lines that begin with '- '",)
    return ()


def _number_help(value: str, node: Node) -> tuple[str, ...]:
    try:
        float(value)
    except ValueError:
        return ()
    if "_" in value:
        return (f"YAML 1.2 has no underscores in numbers: write {value.replace('_', '')}",)
    return () if isinstance(node, Scalar) and node.plain else ("remove the quotes",)
