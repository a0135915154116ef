"""The schema: one JSON Schema (draft-07) composed from everything that is installed.

Two forms: the runtime one is strict and undocumented; the one for editors has descriptions, snippets and titles, and
takes ``${env:…}`` where a number or a truth value is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dit_run.components import Component, Kind
from dit_run.config.environment import ENV_PATTERN
from dit_run.config.keys import KINDS_BY_SECTION, TOP_LEVEL
from dit_run.options import options_of, schema_of, summary
from dit_run.registry import Registry
from dit_run.settings import COMMON_OPTIONS, SECTIONS

__all__ = ["SECTION_TEXTS", "compose", "editor_form"]

Schema = dict[str, Any]

SECTION_TEXTS: Mapping[str, str] = {
    "data": "The dataset: images with captions.",
    "model": "The network that is trained.",
    "vae": "What turns images into latents and back.",
    "scheduler": "The noise process: what the model learns, and how pictures are sampled.",
    "text_encoder": "What turns captions into states that the model attends to.",
    "optimizer": "How gradients become updates.",
    "lr_scheduler": "How the learning rate changes over the run.",
    "trackers": "Where numbers and pictures go while training.",
    "metrics": "Scores of pictures made while training, and of `dit-run eval`.",
    "callbacks": "What watches a run.",
    "plugins": "Plugin files, relative to this file: Python modules that offer components of their own.",
    "extends": "Config files that this one builds on, relative to this file; what is written here comes on top.",
}


def compose(registry: Registry, *, editor: bool = False) -> Schema:
    """The schema of all configs that the registry's components allow."""
    definitions: Schema = {}
    properties = {section: _section(section, registry, definitions, editor) for section in TOP_LEVEL}
    schema: Schema = {"$schema": "http://json-schema.org/draft-07/schema#"}
    if editor:
        schema |= {"title": "dit-run config", "description": "Trains a text-to-image Diffusion Transformer."}
    schema |= {"type": "object", "properties": properties, "additionalProperties": False, "definitions": definitions}
    return schema


def _section(section: str, registry: Registry, definitions: Schema, editor: bool) -> Schema:
    if section in ("plugins", "extends"):
        return _documented(section, SECTION_TEXTS[section], _paths(section), editor)
    if section in SECTIONS:
        cls = SECTIONS[section]
        return _documented(section, summary(cls), _closed(_options(cls, editor), cls), editor)
    kind = KINDS_BY_SECTION[section]
    chosen = _choice(kind, registry.components(kind), definitions, editor)
    if kind.listed:
        chosen = {"type": "array", "items": chosen}
    return _documented(section, SECTION_TEXTS[section], chosen, editor)


def _documented(title: str, text: str, schema: Schema, editor: bool) -> Schema:
    return {"title": title, "description": text, **schema} if editor else schema


def _paths(section: str) -> Schema:
    items: Schema = {"type": "string", "minLength": 1}
    return {"type": ["string", "array"] if section == "extends" else "array", "items": items}


def _closed(properties: Schema, *classes: type) -> Schema:
    required = [option.name for cls in classes for option in options_of(cls) if option.required]
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": required} if required else {})


def _options(cls: type, editor: bool) -> Schema:
    schemas = schema_of(cls, documented=editor)
    return {name: editor_form(schema) for name, schema in schemas.items()} if editor else schemas


# --------------------------------------------------------------------------------------------------------- components


def _choice(kind: Kind, components: Mapping[str, Component], definitions: Schema, editor: bool) -> Schema:
    for component in components.values():
        definitions[component.name] = _branch(component, editor)
    names = ("type", "dataset_name") if kind is Kind.DATASET else ("type",)
    schema: Schema = {"type": "object", "properties": {name: _type(kind, components, editor) for name in names}}
    schema["allOf"] = [branch for type_ in components for branch in _branches(kind, type_, names)]
    if kind.listed:
        schema["required"] = ["type"]
    if editor:
        schema["defaultSnippets"] = [_snippet(component) for component in components.values()]
    return schema if schema["allOf"] else {key: value for key, value in schema.items() if key != "allOf"}


def _type(kind: Kind, components: Mapping[str, Component], editor: bool) -> Schema:
    schema: Schema = {"type": "string", "enum": list(components)}
    if not components:
        schema = {"type": "string", "not": {}}
    if kind.default_type is not None:
        schema["default"] = kind.default_type
    if editor:
        schema["description"] = f"Which {kind.replace('_', ' ')}; the other keys depend on it."
        schema["markdownEnumDescriptions"] = [summary(c.options) for c in components.values()]
    return schema


def _branches(kind: Kind, type_: str, names: tuple[str, ...]) -> list[Schema]:
    """One conditional per name that ``type`` has; the default type's one holds also where none is written."""
    then = {"$ref": f"#/definitions/{kind}.{type_}"}
    if type_ == kind.default_type:
        return [{"if": {"properties": {name: {"const": type_} for name in names}}, "then": then}]
    return [{"if": {"properties": {name: {"const": type_}}, "required": [name]}, "then": then} for name in names]


def _branch(component: Component, editor: bool) -> Schema:
    common = COMMON_OPTIONS.get(component.kind)
    properties: Schema = {"type": {}}
    if component.kind is Kind.DATASET:
        properties["dataset_name"] = {}
    if common:
        properties |= _options(common, editor)
    properties |= _options(component.options, editor)
    schema = _closed(properties, component.options, *([common] if common else []))
    return _documented(component.name, summary(component.options), schema, editor)


# ------------------------------------------------------------------------------------------------------------ editors


def editor_form(schema: Mapping[str, Any]) -> Schema:
    """The schema of an option as editors take it: ``${env:…}`` is good where a number or a truth value is."""
    form = dict(schema)
    if isinstance(form.get("items"), dict):
        form["items"] = editor_form(form["items"])
    kinds = form["type"] if isinstance(form["type"], list) else [form["type"]]
    if "enum" in form:
        return form
    if "string" in kinds:
        if "pattern" in form:
            form["pattern"] = f"({form['pattern']})|({ENV_PATTERN})"
        return form
    if {"integer", "number", "boolean"} & set(kinds):
        form |= {"type": [*kinds, "string"], "pattern": ENV_PATTERN}
    return form


def _snippet(component: Component) -> Schema:
    """A block to begin with: the type and the keys that must be written."""
    body: Schema = {"type": component.type}
    required = [option.name for option in options_of(component.options) if option.required]
    body |= {name: f"${{{number}}}" for number, name in enumerate(required, 1)}
    return {"label": component.type, "description": summary(component.options), "body": body}
