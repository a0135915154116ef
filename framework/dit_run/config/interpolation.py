"""Interpolation: replaces ``${env:…}`` in all values of a config, by the type of each option."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dit_run.config.environment import expand, uses_environment
from dit_run.config.keys import KINDS_BY_SECTION, component_options, key_name
from dit_run.config.nodes import ListNode, MapNode, Node, Scalar, put_node, walk
from dit_run.options import Option, options_of
from dit_run.problems import KeyPath, Problem
from dit_run.registry.components import Kind
from dit_run.registry.registry import Registry
from dit_run.settings import SECTIONS

__all__ = ["expand_all"]


def expand_all(root: MapNode, registry: Registry, problems: list[Problem]) -> dict[KeyPath, str]:
    """Replace ``${env:…}`` in all values; return the secret values as they were written, by key."""
    secrets: dict[KeyPath, str] = {}
    for section, entry in root.entries.items():
        if section == "plugins":
            continue
        kind = KINDS_BY_SECTION.get(section)
        holders = _holders(section, entry.node, listed=kind is not None and kind.listed)
        for path, holder in holders:
            options = _options(section, kind, holder, registry)
            _expand_below(holder, path, options, secrets, problems)
    return secrets


def _holders(section: str, node: Node, *, listed: bool) -> list[tuple[KeyPath, Node]]:
    """Return the mappings that hold options: a section, or each component of a list."""
    if listed and isinstance(node, ListNode):
        return [((section, index), item) for index, item in enumerate(node.items)]
    return [((section,), node)]


def _options(section: str, kind: Kind | None, holder: Node, registry: Registry) -> dict[str, Option]:
    options: Sequence[Option] = options_of(SECTIONS[section]) if section in SECTIONS else ()
    if kind is not None and isinstance(holder, MapNode):
        type_ = holder.entries.get("type")
        named = expand(type_.node, []).value if type_ and isinstance(type_.node, Scalar) else kind.default_type
        if isinstance(named, str) and len(registry.rivals(kind, named)) == 1:
            options = component_options(registry.component(kind, named))
    return {option.name: option for option in options}


def _expand_below(
    holder: Node, above: KeyPath, options: Mapping[str, Option], secrets: dict[KeyPath, str], problems: list[Problem]
) -> None:
    for below, node in list(walk(holder)):
        if not isinstance(node, Scalar):
            continue
        option = options.get(str(below[0])) if below else None
        if option is not None and "secret" in option.markers and node.value is not None:
            secrets[above + below] = _secret(node, above + below, problems)
        if uses_environment(node) and below:
            put_node(holder, below, expand(node, problems, text_wanted=option is not None and _is_text(option)))


def _secret(node: Scalar, path: KeyPath, problems: list[Problem]) -> str:
    if not (isinstance(node.value, str) and "${env:" in node.value):
        message = f"{key_name(path)} is a secret, which must not be written into a config"
        help_ = ("put it into an environment variable NAME and write ${env:NAME}",)
        problems.append(Problem("secret-in-config", message, path, node.span.place(), help_))
    return str(node.value)


def _is_text(option: Option) -> bool:
    schema = option.schema["items"] if option.schema["type"] == "array" else option.schema
    kinds = schema["type"]
    return set([kinds] if isinstance(kinds, str) else kinds) <= {"string", "null"}
