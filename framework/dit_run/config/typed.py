"""Typing: build the typed config, with chosen components and their options, from checked nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dit_run.config.keys import KINDS_BY_SECTION, TOP_LEVEL
from dit_run.config.nodes import MapNode, find, value_of, walk
from dit_run.config.schema_check import unknown_type
from dit_run.options import build
from dit_run.problems import KeyPath, Problem
from dit_run.registry.kinds import Kind
from dit_run.registry.registry import Registry, UnknownType
from dit_run.settings import SECTIONS, Choice, Config

__all__ = ["typed"]


def typed(root: MapNode, registry: Registry, plugins: tuple[str, ...], problems: list[Problem]) -> Config | None:
    """Return the typed config; None, with problems added, if a default type is missing or an option is refused."""
    values = value_of(root)
    places = {path: node.span.place() for path, node in walk(root) if path}
    known = len(problems)
    sections = {
        name: _section(name, values.get(name), root, registry, problems)
        for name in TOP_LEVEL
        if name in SECTIONS or name in KINDS_BY_SECTION
    }
    return None if len(problems) > known else Config(sections=sections, plugins=plugins, places=places)


def _section(name: str, values: Any, root: MapNode, registry: Registry, problems: list[Problem]) -> Any:
    if name in SECTIONS:
        return build(SECTIONS[name], values or {})
    kind = KINDS_BY_SECTION[name]
    if not kind.listed:
        if values is None and kind.default_type is None:
            return None
        return _choice(kind, (name,), {"type": kind.default_type, **(values or {})}, root, registry, problems)
    if values is None:
        values = [{"type": t} for t in kind.spec.default_list if t in registry.types(kind)]
    return tuple(_choice(kind, (name, index), item, root, registry, problems) for index, item in enumerate(values))


def _choice(
    kind: Kind, path: KeyPath, values: Mapping[str, Any], root: MapNode, registry: Registry, problems: list[Problem]
) -> Choice | None:
    place = find(root, path)[1].span.place()
    try:
        component = registry.component(kind, values["type"])
    except UnknownType:
        problems.append(unknown_type(kind, str(values["type"]), registry, path, place))
        return None
    common = kind.spec.common
    names = {option.name for option in kind.spec.common_options()}
    own = {key: value for key, value in values.items() if key != "type" and key not in names}
    shared = {key: value for key, value in values.items() if key in names}
    try:
        return Choice(component, build(component.options, own), build(common, shared) if common else None)
    except Exception as error:  # noqa: BLE001 (a plugin's options may raise anything)
        message = f"{component.name} refuses its options: {error or type(error).__name__}"
        problems.append(Problem("refused-options", message, path, place))
        return None
