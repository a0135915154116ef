"""Explanations: each key of a config with its value, the origin of the value, and its documentation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dit_run.config.describe import expected
from dit_run.config.keys import TOP_LEVEL, config_options, key_name
from dit_run.config.renamed_keys import former_names
from dit_run.config.suggestions import did_you_mean
from dit_run.options import MISSING, documentation, options_of, summary
from dit_run.problems import ConfigError, KeyPath, Problem
from dit_run.settings import SECTIONS, Config

__all__ = ["Explanation", "explanations", "origins"]


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
        now = former_names(config).get(key)
        help_ = did_you_mean(key, names) if now is None else (f"its name is now '{now}'",)
        raise ConfigError([Problem("unknown-key", f"the config has no key '{key}'", help=help_)])
    return chosen


def origins(config: Config) -> dict[str, str]:
    """Return the origin of each key that does not have its default value by itself."""
    types = [(*parent, "type") for parent, _ in config.choices()]
    paths = [*types, *(path for path, _, _ in config_options(config))]
    return {key_name(path): origin for path in paths if (origin := _origin(config, path)) != "default"}


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
    owners: dict[KeyPath, type] = {path: type(holder) for path, holder in _holders(config)}
    for path, option, _ in config_options(config):
        yield Explanation(
            path,
            _at(values, path),
            _origin(config, path),
            expected(option.schema),
            option.default,
            documentation(owners[path]).get(option.name, ""),
            "operational" in option.markers,
            "adjustable" in option.markers,
        )


def _holders(config: Config) -> Iterator[tuple[KeyPath, Any]]:
    """Yield each key with the options object that has it."""
    for section, cls in SECTIONS.items():
        yield from (((section, option.name), config.sections[section]) for option in options_of(cls))
    for path, choice in config.choices():
        yield from (((*path, option.name), holder) for holder, option in choice.held_options())


def _origin(config: Config, path: KeyPath) -> str:
    holder = (*path[:-3], path[-1])
    for written in (path, holder) if len(path) > 3 else (path,):  # a part inherits the keys of what holds it
        if written in config.places:
            return str(config.places[written])
    return "rule" if path in config.adjusted else "default"


def _at(values: Any, path: KeyPath) -> Any:
    for step in path:
        values = values[step]
    return values
