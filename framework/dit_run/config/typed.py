"""Typing: from checked nodes to the typed config, its components chosen and their options built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dit_run.config.nodes import MapNode, find, value_of, walk
from dit_run.config.schema_check import unknown_type
from dit_run.options import build, options_of
from dit_run.problems import KeyPath, Problem
from dit_run.registry.components import Kind
from dit_run.registry.registry import Registry, UnknownType
from dit_run.settings import COMMON_OPTIONS, SECTIONS, Choice, Config

__all__ = ["typed"]

DEFAULT_COMPONENTS: Mapping[Kind, tuple[str, ...]] = {Kind.TRACKER: ("tensorboard",)}
"""The types in a list that a config does not have, where they are registered."""


def typed(root: MapNode, registry: Registry, plugins: tuple[str, ...], problems: list[Problem]) -> Config | None:
    """The typed config; None with problems where a default type is missing or a component refuses its options."""
    values = value_of(root)
    places = {path: node.span.place() for path, node in walk(root) if path}
    sections: dict[str, Any] = {name: build(cls, values.get(name, {})) for name, cls in SECTIONS.items()}
    known = len(problems)
    for kind in Kind:
        sections[kind.section] = _chosen(kind, values.get(kind.section), root, registry, problems)
    return None if len(problems) > known else Config(**sections, plugins=plugins, places=places)


def _chosen(kind: Kind, section: Any, root: MapNode, registry: Registry, problems: list[Problem]) -> Any:
    if not kind.listed:
        return _choice(kind, (kind.section,), {"type": kind.default_type, **(section or {})}, root, registry, problems)
    if section is None:
        section = [{"type": t} for t in DEFAULT_COMPONENTS.get(kind, ()) if t in registry.types(kind)]
    return tuple(
        _choice(kind, (kind.section, index), item, root, registry, problems) for index, item in enumerate(section)
    )


def _choice(
    kind: Kind, path: KeyPath, values: Mapping[str, Any], root: MapNode, registry: Registry, problems: list[Problem]
) -> Choice | None:
    place = find(root, path)[1].span.place()
    try:
        component = registry.component(kind, values["type"])
    except UnknownType:
        problems.append(unknown_type(kind, str(values["type"]), registry, path, place))
        return None
    common = COMMON_OPTIONS.get(kind)
    names = {option.name for option in options_of(common)} if common else set()
    own = {key: value for key, value in values.items() if key != "type" and key not in names}
    shared = {key: value for key, value in values.items() if key in names}
    try:
        return Choice(component, build(component.options, own), build(common, shared) if common else None)
    except Exception as error:  # noqa: BLE001 (a plugin's options may raise anything)
        message = f"{component.name} refuses its options: {error or type(error).__name__}"
        problems.append(Problem("refused-options", message, path, place))
        return None
