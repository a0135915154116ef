"""Written options: the mappings of a config's nodes that hold options, each with the options that it may hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dit_run.config.environment import expand
from dit_run.config.keys import KINDS_BY_SECTION, component_options
from dit_run.config.nodes import ListNode, MapNode, Node, Scalar
from dit_run.options import ComponentsOf, Option, options_of
from dit_run.problems import KeyPath
from dit_run.registry.components import Kind
from dit_run.registry.registry import Registry
from dit_run.settings import SECTIONS

__all__ = ["Written", "written_options"]


@dataclass(frozen=True)
class Written:
    """A written section of the core, or a written component."""

    path: KeyPath
    node: MapNode
    options: Sequence[Option]
    """Empty for a component whose type is not known."""
    kind: Kind | None = None
    """None for a section of the core."""
    type: str | None = None
    """Type of a component, as written or by default."""


def written_options(root: MapNode, registry: Registry) -> Iterator[Written]:
    """Yield every written mapping of options, those of components inside an option after the one that holds them."""
    for name, entry in root.entries.items():
        if name in SECTIONS and isinstance(entry.node, MapNode):
            yield Written((name,), entry.node, options_of(SECTIONS[name]))
        elif kind := KINDS_BY_SECTION.get(name):
            several = kind.listed or (kind.combines and isinstance(entry.node, ListNode))
            items = _items((name,), entry.node) if several else [((name,), entry.node)]
            for path, node in items:
                yield from _component(path, node, kind, registry)


def _component(
    path: KeyPath, node: Node, kind: Kind, registry: Registry, place: ComponentsOf | None = None
) -> Iterator[Written]:
    if not isinstance(node, MapNode):
        return
    type_ = _type(node, kind.default_type if place is None else None)
    known = type_ is not None and len(registry.rivals(kind, type_)) == 1
    options = component_options(registry.component(kind, type_), place) if known and type_ is not None else ()
    yield Written(path, node, options, kind, type_)
    for option in options:
        if option.components is not None and option.name in node.entries:
            for below, item in _items((*path, option.name), node.entries[option.name].node):
                yield from _component(below, item, Kind(option.components.kind), registry, option.components)


def _items(path: KeyPath, node: Node) -> Iterator[tuple[KeyPath, Node]]:
    if isinstance(node, ListNode):
        yield from (((*path, index), item) for index, item in enumerate(node.items))


def _type(node: MapNode, default: str | None) -> str | None:
    entry = node.entries.get("type")
    written = expand(entry.node, []).value if entry is not None and isinstance(entry.node, Scalar) else None
    named = default if entry is None else written
    return named if isinstance(named, str) else None
