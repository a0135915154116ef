"""Explanations: each key of a resolved config with its value, where that came from, and what it means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dit_run.config.describe import expected
from dit_run.config.keys import TOP_LEVEL, config_options, key_name
from dit_run.config.suggestions import did_you_mean
from dit_run.options import MISSING, Option, documentation, summary
from dit_run.problems import ConfigError, KeyPath, Problem
from dit_run.settings import Choice, Config

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True)
class Explanation:
    """One key of a config."""

    path: KeyPath
    value: Any
    """In plain YAML values; a secret as it was written."""
    origin: str
    """``default``, ``rule``, or the place it was written at."""
    expected: str
    """What the key takes."""
    default: Any
    """``MISSING`` where the key must be written."""
    text: str
    """Its documentation."""
    operational: bool
    """Whether it may change when a run continues."""


def explain(config: Config, key: str | None = None) -> list[Explanation]:
    """All keys in the order of the reference, or those at and below ``section.key``.

    Raises ConfigError for a key that the config does not have.
    """
    found = sorted(_all(config), key=lambda item: TOP_LEVEL.index(str(item.path[0])))
    if key is None:
        return found
    chosen = [item for item in found if _below(key_name(item.path), key)]
    if not chosen:
        names = [key_name(item.path) for item in found] + list(TOP_LEVEL)
        raise ConfigError([Problem("unknown-key", f"the config has no key '{key}'", help=did_you_mean(key, names))])
    return chosen


def _below(name: str, key: str) -> bool:
    return name == key or name.startswith((f"{key}.", f"{key}["))


def _all(config: Config) -> list[Explanation]:
    values = config.to_dict()
    found = []
    for path, choice in config.choices():
        found.append(_type(config, path, choice))
    for path, option, _ in config_options(config):
        found.append(_option(config, path, option, _value(values, path)))
    return found


def _type(config: Config, path: KeyPath, choice: Choice) -> Explanation:
    kind = choice.component.kind
    where = (*path, "type")
    text = summary(choice.component.options)
    default = kind.default_type if kind.default_type is not None else MISSING
    return Explanation(where, choice.type, _origin(config, where), f"a {kind.spec.title}", default, text, False)


def _option(config: Config, path: KeyPath, option: Option, value: Any) -> Explanation:
    text = documentation(_owner(config, path, option.name)).get(option.name, "")
    return Explanation(
        path,
        value,
        _origin(config, path),
        expected(option.schema),
        option.default,
        text,
        "operational" in option.markers,
    )


def _owner(config: Config, path: KeyPath, name: str) -> type:
    holder = config.sections[str(path[0])]
    if isinstance(holder, tuple):
        holder = holder[int(path[1])]
    if not isinstance(holder, Choice):
        return type(holder)
    return type(holder.options if hasattr(holder.options, name) else holder.common)


def _origin(config: Config, path: KeyPath) -> str:
    if path in config.places:
        return str(config.places[path])
    return "rule" if path in config.adjusted else "default"


def _value(values: Any, path: KeyPath) -> Any:
    for step in path:
        values = values[step]
    return values
