"""Keys: the sections of a config and the options of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dit_run.options import ComponentsOf, Option, options_of
from dit_run.problems import KeyPath
from dit_run.registry.components import Component, Kind
from dit_run.registry.registry import Registry
from dit_run.settings import SECTIONS, Config

__all__ = [
    "KINDS_BY_SECTION",
    "TOP_LEVEL",
    "component_options",
    "config_options",
    "key_name",
    "nested_components",
]

KINDS_BY_SECTION = {kind.section: kind for kind in Kind}

_FIRST = ("data", "model", "vae", "training", "scheduler", "text_encoder", "optimizer", "lr_scheduler")
_WATCHING = tuple(kind.section for kind in Kind if kind.listed and kind.spec.observes)
_OTHERS = tuple(kind.section for kind in Kind if kind.section not in _WATCHING)

TOP_LEVEL = tuple(dict.fromkeys((*_FIRST, *_OTHERS, *SECTIONS, *_WATCHING, "plugins", "extends")))
"""Every top-level key, in the order of the reference."""


def component_options(component: Component, place: ComponentsOf | None = None) -> tuple[Option, ...]:
    """Return the keys of a component besides ``type``: those of its place, those common to its kind, then its own.

    ``place`` is the list of another component that holds it, None for a section of the config.
    """
    common = component.kind.spec.common_options()
    if place is not None:
        common = (*options_of(place.item), *(option for option in common if option.name not in place.without))
    return (*common, *options_of(component.options))


def nested_components(registry: Registry, place: ComponentsOf) -> dict[str, Component]:
    """Return the components that a list inside an option accepts, by type: those that hold no components themselves."""
    return {
        type_: component
        for type_, component in registry.components(Kind(place.kind)).items()
        if not any(option.components for option in options_of(component.options))
    }


def config_options(config: Config) -> Iterator[tuple[KeyPath, Option, Any]]:
    """Yield every option of a typed config with its path and value; ``type`` and ``plugins`` are not options.

    An option that holds components is left out: the options of each of them follow.
    """
    for section, cls in SECTIONS.items():
        typed = config.sections[section]
        for option in options_of(cls):
            yield (section, option.name), option, getattr(typed, option.name)
    for path, choice in config.choices():
        for holder, option in choice.held_options():
            if option.components is None:
                yield (*path, option.name), option, getattr(holder, option.name)


def key_name(path: KeyPath) -> str:
    """Return the name of a key in messages: ``trackers[0].type`` for ``("trackers", 0, "type")``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
