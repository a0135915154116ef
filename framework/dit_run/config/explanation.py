"""Explanations: each key of a config with its value, the origin of the value, and its documentation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dit_run.config.describe import expected
from dit_run.config.keys import TOP_LEVEL, config_options, key_name
from dit_run.config.suggestions import did_you_mean
from dit_run.options import MISSING, documentation, summary
from dit_run.problems import ConfigError, KeyPath, Problem
from dit_run.settings import Choice, Config

__all__ = ["Explanation", "explanations"]


@dataclass(frozen=True)
class Explanation:
    """A key of a config and where its value comes from."""

    path: KeyPath
    value: Any
    """Plain YAML value; a secret as it was written."""
    origin: str
    """``default``, ``rule``, or the place where the value is written."""
    expected: str
    """Description of the accepted values."""
    default: Any
    """Default value; ``MISSING`` for a key that must be written."""
    text: str
    """Documentation of the key."""
    operational: bool
    """True if the key may change when a run continues, because it does not change what is learnt."""
    adjustable: bool
    """True if the key may change when a run continues, with a note."""


def explanations(config: Config, key: str | None = None) -> list[Explanation]:
    """Explain all keys in the order of the reference, or those at and below ``section.key``.

    Raises ConfigError for a key that the config does not have.
    """
    found = sorted([*_types(config), *_options(config)], key=lambda item: TOP_LEVEL.index(str(item.path[0])))
    chosen = [item for item in found if key is None or f"{key_name(item.path)}.".startswith((f"{key}.", f"{key}["))]
    if not chosen and key is not None:
        names = [key_name(item.path) for item in found] + list(TOP_LEVEL)
        raise ConfigError([Problem("unknown-key", f"the config has no key '{key}'", help=did_you_mean(key, names))])
    return chosen


def _types(config: Config) -> Iterator[Explanation]:
    for parent, choice in config.choices():
        kind, path = choice.component.kind, (*parent, "type")
        default = MISSING if kind.default_type is None else kind.default_type
        text = summary(choice.component.options)
        yield Explanation(
            path, choice.type, _origin(config, path), f"a type of kind {kind}", default, text, False, False
        )


def _options(config: Config) -> Iterator[Explanation]:
    values = config.to_dict()
    for path, option, _ in config_options(config):
        yield Explanation(
            path,
            _at(values, path),
            _origin(config, path),
            expected(option.schema),
            option.default,
            documentation(_owner(config, path)).get(option.name, ""),
            "operational" in option.markers,
            "adjustable" in option.markers,
        )


def _owner(config: Config, path: KeyPath) -> type:
    """Return the options class that declares a key."""
    holder = config.sections[str(path[0])]
    if isinstance(holder, tuple):
        holder = holder[int(path[1])]
    if not isinstance(holder, Choice):
        return type(holder)
    return type(holder.options if hasattr(holder.options, str(path[-1])) else holder.common)


def _origin(config: Config, path: KeyPath) -> str:
    if path in config.places:
        return str(config.places[path])
    return "rule" if path in config.adjusted else "default"


def _at(values: Any, path: KeyPath) -> Any:
    for step in path:
        values = values[step]
    return values
