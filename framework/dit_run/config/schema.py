"""The schema: one JSON Schema (draft-07) composed from all installed components.

It has two forms. The runtime form is strict and has no documentation. The form for editors has descriptions, snippets
and titles, and accepts ``${env:…}`` for a number or a boolean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dit_run.config.describe import expected
from dit_run.config.environment import ENV_PATTERN
from dit_run.config.keys import KINDS_BY_SECTION, TOP_LEVEL, nested_components
from dit_run.options import ComponentsOf, Option, options_of, schema_of, summary
from dit_run.registry.components import Component
from dit_run.registry.kinds import Kind
from dit_run.registry.registry import Registry
from dit_run.settings import SECTIONS

__all__ = ["SECTION_TEXTS", "compose"]

Schema = dict[str, Any]

_SILENT = {"doNotSuggest": True}
"""Keeps a key out of an editor's suggestions."""

SECTION_TEXTS: Mapping[str, str] = {
    **{kind.section: kind.spec.text for kind in Kind},
    "plugins": "Plugin files, relative to this file: Python modules that offer components of their own. They "
    "add to those of `extends`; an empty list drops these.",
    "extends": "Config files below this one, relative to this file; the keys of this file replace theirs.",
}
"""Description of every section that is not an options class of the core."""


def compose(registry: Registry, *, editor: bool = False) -> Schema:
    """Return the schema of all configs that the registry's components allow."""
    definitions: Schema = {}
    properties = {section: _section(section, registry, definitions, editor) for section in TOP_LEVEL}
    schema: Schema = {"$schema": "http://json-schema.org/draft-07/schema#"}
    if editor:
        schema |= {"title": "dit-run config", "description": "Trains a text-to-image Diffusion Transformer."}
        schema["defaultSnippets"] = [_snippet(c) for kind in Kind for c in registry.components(kind).values()]
    schema |= {"type": "object", "properties": properties, "additionalProperties": False, "definitions": definitions}
    return schema


def _section(section: str, registry: Registry, definitions: Schema, editor: bool) -> Schema:
    if section in ("plugins", "extends"):
        return _documented(section, SECTION_TEXTS[section], _paths(section), editor)
    if section in SECTIONS:
        cls = SECTIONS[section]
        return _documented(section, _unwrapped(summary(cls)), _closed(_options(cls, editor), cls), editor)
    kind = KINDS_BY_SECTION[section]
    chosen = _choice(kind, registry, definitions, editor)
    if kind.listed:
        chosen = {"type": "array", "items": chosen}
    elif kind.combines:
        chosen = {**chosen, "type": ["object", "array"], "minItems": 1, "items": chosen}
    return _documented(section, SECTION_TEXTS[section], chosen, editor)


def _documented(title: str, text: str, schema: Schema, editor: bool) -> Schema:
    return {"title": title, "description": text, **schema} if editor else schema


def _paths(section: str) -> Schema:
    items: Schema = {"type": "string", "minLength": 1}
    return {"type": ["string", "array"] if section == "extends" else "array", "items": items}


def _closed(properties: Schema, *classes: type) -> Schema:
    needed = [option for cls in classes for option in options_of(cls) if option.required]
    required = [option.name for option in needed if not properties.keys() & option.formerly]  # one name is enough
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": required} if required else {})


def _options(cls: type, editor: bool) -> Schema:
    if not editor:
        return schema_of(cls)  # old names were replaced before
    schemas, forms = schema_of(cls, documented=True), {}
    for option in options_of(cls):
        form = forms[option.name] = _editor_form(schemas[option.name], required=option.required)
        forms |= {old: {**form, **_deprecated(option)} for old in option.formerly}
    return forms


def _deprecated(option: Option) -> Schema:
    return {"deprecated": True, "deprecationMessage": f"The name is now {option.name}.", **_SILENT}


# --------------------------------------------------------------------------------------------------------- components


def _choice(kind: Kind, registry: Registry, definitions: Schema, editor: bool) -> Schema:
    components = registry.components(kind)
    for component in components.values():
        definitions[component.name] = _branch(component, registry, definitions, editor)
    names = ("type", *kind.spec.aliases)
    properties = {name: _type(kind, components, editor) for name in names}
    if editor:
        properties |= {name: {**properties[name], **_SILENT} for name in kind.spec.aliases}
    schema: Schema = {"type": "object", "properties": properties}
    if components:
        schema["allOf"] = [branch for c in components.values() for branch in _branches(c, names, editor)]
    return schema | ({} if kind.default_type else {"required": ["type"]})


def _type(kind: Kind, components: Mapping[str, Component], editor: bool) -> Schema:
    schema: Schema = {"type": "string", "enum": list(components)} if components else {"type": "string", "not": {}}
    if kind.default_type is not None:
        schema["default"] = kind.default_type
    if editor:
        default = {"default": kind.default_type} if kind.default_type else {}
        schema |= _texts(f"Type of the {kind.spec.title}; the other keys depend on it.", default)
        schema["markdownEnumDescriptions"] = [_unwrapped(summary(c.options)) for c in components.values()]
    return schema


def _branches(component: Component, names: tuple[str, ...], editor: bool) -> list[Schema]:
    """Return one conditional per name of the key ``type``; that of the default type also holds without the key."""
    then: Schema = {"$ref": f"#/definitions/{component.name}"}
    whole: Schema = {"type": "object"} if component.kind.combines else {}  # the other keywords hold for every list
    is_type = {"const": component.type, **(_SILENT if editor else {})}
    if component.type == component.kind.default_type:
        return [{"if": {**whole, "properties": dict.fromkeys(names, is_type)}, "then": then}]
    return [{"if": {**whole, "properties": {name: is_type}, "required": [name]}, "then": then} for name in names]


def _branch(component: Component, registry: Registry, definitions: Schema, editor: bool) -> Schema:
    spec = component.kind.spec
    properties: Schema = {"type": True} | {name: _SILENT if editor else True for name in spec.aliases}
    if spec.common:
        properties |= _options(spec.common, editor)
    properties |= _options(component.options, editor)
    for option in options_of(component.options):
        if option.components is not None:
            items = _nested(component, option.name, option.components, registry, definitions, editor)
            properties[option.name] = {**properties[option.name], "items": items}
    schema = _closed(properties, component.options, *([spec.common] if spec.common else []))
    return _documented(component.name, _unwrapped(summary(component.options)), schema, editor)


def _nested(
    holder: Component, name: str, place: ComponentsOf, registry: Registry, definitions: Schema, editor: bool
) -> Schema:
    """Return the schema of a component inside an option, with a closed branch for each type as in a section."""
    kind, components = Kind(place.kind), nested_components(registry, place)
    branches = []
    for component in components.values():
        key = f"{holder.name}.{name}.{component.type}"
        common = _options(kind.spec.common, editor) if kind.spec.common else {}
        properties: Schema = {"type": True} | _options(place.item, editor)
        if holder.kind is kind:
            common = {option: _inherited(schema, holder, editor) for option, schema in common.items()}
        left_out = {
            name for option in kind.spec.common_options() if option.name in place.without for name in option.names
        }
        properties |= {option: schema for option, schema in common.items() if option not in left_out}
        closed = _closed(properties | _options(component.options, editor), component.options, place.item)
        definitions[key] = _documented(component.name, _unwrapped(summary(component.options)), closed, editor)
        is_type = {"const": component.type, **(_SILENT if editor else {})}
        branches.append(
            {
                "if": {"properties": {"type": is_type}, "required": ["type"]},
                "then": {"$ref": f"#/definitions/{key}"},
            }
        )
    type_ = {name: value for name, value in _type(kind, components, editor).items() if name != "default"}
    schema: Schema = {"type": "object", "properties": {"type": type_}, "required": ["type"]}
    return schema | ({"allOf": branches} if branches else {})


def _inherited(schema: Schema, holder: Component, editor: bool) -> Schema:
    """Return the schema of a common key whose default is the value of the component that holds this one."""
    inherited = {name: value for name, value in schema.items() if name != "default"}
    if editor:
        text = schema["description"]
        inherited["markdownDescription"] = f"{text}\n\nDefault: that of the {holder.kind.section}."
    return inherited


# ------------------------------------------------------------------------------------------------------------ editors


def _editor_form(schema: Mapping[str, Any], *, required: bool) -> Schema:
    """Return the schema of an option for editors: the default in the description, and ``${env:…}`` for numbers."""
    form = _with_references(schema)
    if form.get("default", 0) is None:
        del form["default"]  # yaml-language-server 2.0.0 takes null for a string
    return form | _texts(schema.get("description", ""), schema, required=required)


def _texts(text: str, schema: Mapping[str, Any], *, required: bool = False) -> Schema:
    """Return the description, and the Markdown for hovers, which includes the default."""
    text = _unwrapped(text)
    default = json.dumps(schema.get("default"), ensure_ascii=False)
    note = "Must be written." if required else f"Default: `{default}`" if "default" in schema else ""
    return {"description": text, "markdownDescription": "\n\n".join(part for part in (text, note) if part)}


def _unwrapped(text: str) -> str:
    """Put each paragraph on one line, because editors show every line break."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _with_references(schema: Mapping[str, Any]) -> Schema:
    form = dict(schema)
    for part in ("items", "additionalProperties"):
        if isinstance(form.get(part), dict):
            form[part] = _with_references(form[part])
    kinds = form["type"] if isinstance(form["type"], list) else [form["type"]]
    if "enum" in form:
        return form
    if "string" in kinds:
        if "pattern" in form:
            form["pattern"] = f"({form['pattern']})|({ENV_PATTERN})"
        return form
    if {"integer", "number", "boolean"} & set(kinds):
        message = f"{expected(schema)}, or ${{env:NAME}}"
        form |= {"type": [*kinds, "string"], "pattern": ENV_PATTERN, "patternErrorMessage": message}
    return form


def _snippet(component: Component) -> Schema:
    """Return a snippet of a section: the type and the keys that must be written."""
    kind = component.kind
    body: Schema = {"type": component.type}
    required = [option.name for option in options_of(component.options) if option.required]
    body |= {name: f"${{{number}}}" for number, name in enumerate(required, 1)}
    section = kind.section
    return {
        "label": f"{section}: {component.type}",
        "description": _unwrapped(summary(component.options)),
        "body": {section: [body] if kind.listed else body},
    }
