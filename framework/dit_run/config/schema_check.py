"""The check: a config's values against the schema, each fault as a problem at its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

import jsonschema

from dit_run.config.describe import expected, received
from dit_run.config.document import MAX_PROBLEMS
from dit_run.config.keys import KINDS_BY_SECTION, component_options, key_name
from dit_run.config.nodes import MapNode, Node, Scalar, find, plain
from dit_run.config.packages import known_package
from dit_run.config.suggestions import did_you_mean
from dit_run.options import Option, options_of
from dit_run.problems import KeyPath, Place, Problem
from dit_run.registry.components import Kind
from dit_run.registry.registry import Registry, UnknownType
from dit_run.settings import SECTIONS

__all__ = ["check"]

_CODES = {
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
_MOST_NAMED = 40
_WHOLE = 2**63
"""No whole number of a config is as large: positions, sizes and counts have 64 bits, one of them for the sign."""


def check(root: MapNode, schema: Mapping[str, Any], registry: Registry) -> list[Problem]:
    """All faults of the merged nodes; one problem for each key concerned."""
    values = plain(root)
    complete = {kind.section: {} for kind in Kind if kind.default_type} | values
    checker = _Checker(root, complete, registry)
    errors = jsonschema.Draft7Validator(schema).iter_errors(complete)
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

    def problems(self, error: jsonschema.ValidationError) -> Iterator[Problem]:
        path: KeyPath = tuple(error.absolute_path)
        schema, value = _parts(error)
        node = find(self.root, path)[1]
        if isinstance(node, Scalar) and node.broken:
            return
        if error.validator == "additionalProperties":
            yield from self._unknown_keys(path, schema, value)
        elif error.validator == "required":
            yield from self._missing_keys(path, schema, value)
        elif path[-1:] == ("type",) and error.validator in ("enum", "not"):
            yield self._unknown_type(path, value)
        else:
            yield self._bad_value(path, _CODES[str(error.validator)], schema, value)

    def too_large(self) -> Iterator[Problem]:
        """Whole numbers that no computation takes."""
        for path, options in self._sections():
            values = find(self.root, path)[1]
            section = plain(values) if isinstance(values, MapNode) else {}
            for option in options:
                value = section.get(option.name)
                if "number" not in option.schema["type"] and isinstance(value, int | float) and abs(value) >= _WHOLE:
                    limited = {**option.schema, "exclusiveMaximum": _WHOLE}
                    yield self._bad_value((*path, option.name), "out-of-bounds", limited, value)

    def _sections(self) -> Iterator[tuple[KeyPath, Iterable[Option]]]:
        """Every mapping of options that is written, with those it may hold."""
        yield from (((section,), options_of(cls)) for section, cls in SECTIONS.items() if section in self.values)
        for kind in Kind:
            written = self.values.get(kind.section)
            count = len(written) if kind.listed and isinstance(written, list) else 0
            for path in [(kind.section, index) for index in range(count)] if kind.listed else [(kind.section,)]:
                type_ = self._type(path if len(path) == 1 else (*path, "type"))
                if type_ in self.registry.components(kind):
                    yield path, component_options(self.registry.components(kind)[type_])

    # ------------------------------------------------------------------------------------------------------- values

    def _bad_value(self, path: KeyPath, code: str, schema: Mapping[str, Any], value: Any) -> Problem:
        node = find(self.root, path)[1]
        if len(path) == 1 and value is None:
            return self._empty_section(path, node)
        message = f"{self._name(path)} takes {expected(schema)}, not {received(value)}"
        return Problem(code, message, path, node.span.place(), _value_help(value, schema, node))

    def _empty_section(self, path: KeyPath, node: Node) -> Problem:
        entry = find(self.root, path)[0]
        place = entry.span.place() if entry else node.span.place()
        help_ = (f"write its keys below it, indented, or remove '{path[0]}:'",)
        return Problem("empty-section", f"section {path[0]} is empty", path, place, help_)

    def _name(self, path: KeyPath) -> str:
        type_ = self._type(path)
        return key_name(path) + (f" ({type_})" if type_ and path[-1] != "type" and len(path) > 1 else "")

    # --------------------------------------------------------------------------------------------------------- keys

    def _unknown_keys(self, path: KeyPath, schema: Mapping[str, Any], value: Mapping[str, Any]) -> Iterator[Problem]:
        allowed = [name for name in schema["properties"] if name != "dataset_name"]
        for key in value:
            if key not in schema["properties"]:
                place = self._key_place((*path, key))
                help_ = (*did_you_mean(key, allowed), *self._belongs(path, key), self._allowed(path, allowed))
                yield Problem("unknown-key", self._unknown_message(path, key), (*path, key), place, help_)

    def _unknown_message(self, path: KeyPath, key: str) -> str:
        if not path:
            return f"there is no section '{key}'"
        type_ = self._type(path)
        return f"{key_name(path)}{f' ({type_})' if type_ else ''} has no key '{key}'"

    def _allowed(self, path: KeyPath, allowed: list[str]) -> str:
        names = ", ".join(allowed[:_MOST_NAMED])
        return f"{key_name(path)} takes: {names}" if path else f"the sections are: {names}"

    def _belongs(self, path: KeyPath, key: str) -> tuple[str, ...]:
        """Where the key is at home, if it stands in the wrong section or under the wrong type."""
        if path and (kind := KINDS_BY_SECTION.get(str(path[0]))):
            owners = [t for t, c in self.registry.components(kind).items() if _has(component_options(c), key)]
            if owners:
                return (f"'{key}' is a key of {kind} {' and '.join(owners)}",)
        homes = [section for section, cls in SECTIONS.items() if _has(options_of(cls), key)]
        for kind in Kind:
            type_ = self._type((kind.section,))
            if not kind.listed and type_ in self.registry.components(kind):
                component = self.registry.components(kind)[type_]
                homes += [kind.section] if _has(component_options(component), key) else []
        return (f"'{key}' is a key of {' and '.join(homes)}",) if homes else ()

    def _missing_keys(self, path: KeyPath, schema: Mapping[str, Any], value: Mapping[str, Any]) -> Iterator[Problem]:
        entry, node = find(self.root, path)
        place = entry.span.place() if entry and not isinstance(path[-1], int) else node.span.place()
        for key in schema["required"]:
            if key not in value:
                type_ = self._type(path)
                message = f"{key_name(path)}{f' ({type_})' if type_ else ''} needs the key '{key}'"
                wanted = expected(schema["properties"][key])
                help_ = (f"write '{key}:' with {wanted}",) if wanted else ()
                yield Problem("missing-key", message, (*path, key), place, help_)

    # -------------------------------------------------------------------------------------------------------- types

    def _unknown_type(self, path: KeyPath, type_: Any) -> Problem:
        kind = KINDS_BY_SECTION[str(path[0])]
        place = find(self.root, path)[1].span.place()
        return unknown_type(kind, str(type_), self.registry, path, place)

    def _type(self, path: KeyPath) -> str | None:
        """The type of the component that a path lies in, written or by default."""
        kind = KINDS_BY_SECTION.get(str(path[0])) if path else None
        if kind is None:
            return None
        section = self.values.get(kind.section)
        if kind.listed and isinstance(section, list) and len(path) > 1 and isinstance(path[1], int):
            section = section[path[1]]
        type_ = section.get("type", kind.default_type) if isinstance(section, dict) else None
        return type_ if isinstance(type_, str) else None

    def _key_place(self, path: KeyPath) -> Place | None:
        entry, node = find(self.root, path)
        return entry.span.place() if entry else node.span.place()


def unknown_type(kind: Kind, type_: str, registry: Registry, path: KeyPath, place: Place | None) -> Problem:
    """A type that nobody offers, or that two offer; with what there is, and what failed to load."""
    try:
        registry.component(kind, type_)
    except UnknownType as error:
        if error.rivals:
            return Problem("ambiguous-type", str(error), path, place)
    known = registry.types(kind)
    help_ = [*did_you_mean(type_, known), f"registered: {', '.join(known) or 'none'}"]
    package = known_package(kind, type_)
    help_ += [f"package {package} provides it: pip install {package}"] if package else []
    help_ += [f"plugin {p} did not load: {p.failure.message}" for p in registry.failed if p.failure]
    return Problem("unknown-type", f"there is no {kind.spec.title} '{type_}'", path, place, tuple(help_))


def _parts(error: jsonschema.ValidationError) -> tuple[Mapping[str, Any], Any]:
    """The schema that was not met and the value that did not meet it."""
    assert isinstance(error.schema, Mapping)
    return error.schema, error.instance


def _has(options: Any, key: str) -> bool:
    return any(option.name == key for option in options)


def _value_help(value: Any, schema: Mapping[str, Any], node: Node) -> tuple[str, ...]:
    """What to write instead, where a value is of the wrong sort for a known reason."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "enum" in schema and isinstance(value, str):
        return did_you_mean(value, [word for word in schema["enum"] if isinstance(word, str)])
    if isinstance(value, str) and "boolean" in kinds and value.lower() in ("yes", "no", "on", "off", "y", "n"):
        return (f"YAML 1.2 reads '{value}' as a string; write true or false",)
    if isinstance(value, str) and {"integer", "number"} & set(kinds):
        return _number_help(value, node)
    if "string" in kinds and isinstance(value, bool | int | float):
        return ("put it in quotes",)
    if kinds == ["array"] and not isinstance(value, list):
        return ("write it as a list: [a, b], or lines that begin with '- '",)
    return ()


def _number_help(value: str, node: Node) -> tuple[str, ...]:
    written_plain = isinstance(node, Scalar) and node.plain
    try:
        float(value)
    except ValueError:
        return ()
    if "_" in value:
        return (f"YAML 1.2 has no underscores in numbers; write {value.replace('_', '')}",)
    return () if written_plain else ("remove the quotes",)
