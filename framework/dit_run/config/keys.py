"""Keys: which options a section of a config has, for nodes and for typed configs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dit_run.options import Option, options_of
from dit_run.problems import KeyPath
from dit_run.registry.components import Component, Kind
from dit_run.settings import COMMON_OPTIONS, SECTIONS, Config

__all__ = ["KINDS_BY_SECTION", "TOP_LEVEL", "component_options", "config_options", "key_name"]

KINDS_BY_SECTION = {kind.section: kind for kind in Kind}

TOP_LEVEL = (
    *("data", "model", "vae", "training", "scheduler", "text_encoder", "optimizer", "lr_scheduler"),
    *("sampling", "validation", "cache", "trackers", "metrics", "callbacks", "plugins", "extends"),
)
"""Every top-level key, in the order of the reference."""


def component_options(component: Component) -> tuple[Option, ...]:
    """The keys of a component beside ``type``: those common to its kind, then its own."""
    common = COMMON_OPTIONS.get(component.kind)
    return (*(options_of(common) if common else ()), *options_of(component.options))


def config_options(config: Config) -> Iterator[tuple[KeyPath, Option, Any]]:
    """Every option of a typed config with its path and value; ``type``, ``plugins`` are no options."""
    for section, cls in SECTIONS.items():
        typed = getattr(config, section)
        for option in options_of(cls):
            yield (section, option.name), option, getattr(typed, option.name)
    for path, choice in config.choices():
        for holder in (choice.common, choice.options):
            for option in options_of(type(holder)) if holder is not None else ():
                yield (*path, option.name), option, getattr(holder, option.name)


def key_name(path: KeyPath) -> str:
    """``trackers[0].type`` for ``("trackers", 0, "type")``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
