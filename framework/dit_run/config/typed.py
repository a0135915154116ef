"""Typing: build the typed config, with chosen components and their options, from checked nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dit_run.config.keys import KINDS_BY_SECTION, TOP_LEVEL
from dit_run.config.nodes import MapNode, find, value_of, walk
from dit_run.config.schema_check import unknown_type
from dit_run.options import ComponentsOf, build, options_of
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
    if not (kind.listed or (kind.combines and isinstance(values, list))):
        if values is None and kind.default_type is None:
            return None
        return _choice(kind, (name,), {"type": kind.default_type, **(values or {})}, root, registry, problems)
    if values is None:
        values = [{"type": t} for t in kind.spec.default_list if t in registry.types(kind)]
    items = ({"type": kind.default_type, **item} for item in values)
    return tuple(_choice(kind, (name, index), item, root, registry, problems) for index, item in enumerate(items))


def _choice(
    kind: Kind,
    path: KeyPath,
    values: Mapping[str, Any],
    root: MapNode,
    registry: Registry,
    problems: list[Problem],
    within: ComponentsOf | None = None,
    inherited: Mapping[str, Any] | None = None,
) -> Choice | None:
    """Return a chosen component; ``within`` is the list of another one that holds it, if there is one.

    ``inherited`` are the written common keys of the component that holds it, if that is of the same kind.
    """
    place = find(root, path)[1].span.place()
    try:
        component = registry.component(kind, values["type"])
    except UnknownType:
        problems.append(unknown_type(kind, str(values["type"]), registry, path, place))
        return None
    common, item = kind.spec.common, None if within is None else within.item
    shared = {**(inherited or {}), **_of(common, values)}
    own = {key: value for key, value in values.items() if key != "type" and key not in {**shared, **_of(item, values)}}
    known = len(problems)
    for option in options_of(component.options):
        if option.components is not None:
            below, below_kind = option.components, Kind(option.components.kind)
            own[option.name] = [
                _choice(
                    below_kind,
                    (*path, option.name, index),
                    each,
                    root,
                    registry,
                    problems,
                    below,
                    shared if below_kind is kind else None,
                )
                for index, each in enumerate(own.get(option.name, ()))
            ]
    if len(problems) > known:
        return None
    try:
        return Choice(
            component,
            build(component.options, own),
            build(common, shared) if common else None,
            build(item, _of(item, values)) if item else None,
            () if within is None else within.without,
        )
    except Exception as error:  # noqa: BLE001 (a plugin's options may raise anything)
        message = f"{component.name} refuses its options: {error or type(error).__name__}"
        problems.append(Problem("refused-options", message, path, place))
        return None


def _of(cls: type | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are keys of an options class."""
    names = {option.name for option in options_of(cls)} if cls is not None else set()
    return {key: value for key, value in values.items() if key in names}
