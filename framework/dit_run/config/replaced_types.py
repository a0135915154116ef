"""Notices about types that a plugin offers in place of another plugin's, such as the built-in ones."""

from __future__ import annotations

from collections.abc import Iterator

from dit_run.problems import KeyPath, Problem
from dit_run.registry.registry import Origin, Registry
from dit_run.settings import Choice, Config

__all__ = ["replaced_types"]


def replaced_types(config: Config, registry: Registry) -> Iterator[Problem]:
    """Yield a notice for each chosen component that replaces one of the same type of a lower rank."""
    for path, choice in config.choices():
        if registry.shadowing(choice.component.kind, choice.type):
            yield _notice(config, path, choice, registry)


def _notice(config: Config, path: KeyPath, choice: Choice, registry: Registry) -> Problem:
    kind = choice.component.kind
    plugin = registry.plugin(kind, choice.type)
    others = " and ".join(str(other) for other in registry.shadowing(kind, choice.type))
    message = f"{choice.component.name} is that of plugin {plugin}, which replaces that of {others}"
    way = "take the file out of the config's plugins" if plugin.origin is Origin.FILE else f"--no-plugin {plugin.name}"
    place = config.places.get((*path, "type"))
    help_ = (f"to use the other one: {way}",)
    return Problem("replaced-type", message, place=place, help=help_, severity="notice")
