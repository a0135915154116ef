"""Comparison of configs by meaning: the keys that differ, and which of them may change when a run continues."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dit_run.config.keys import config_options
from dit_run.config.rule_checks import replace_value
from dit_run.options import Option
from dit_run.problems import KeyPath
from dit_run.registry.kinds import Kind
from dit_run.settings import Choice, Config
from dit_run.system.urls import is_url

__all__ = ["ABSENT", "Changes", "Difference", "absolute", "changes", "changing_keys", "differences"]

_PATHS = ("local_path", "hub_or_path")


def changes(before: Mapping[str, Any], config: Config, *, by_content: Collection[str] = ()) -> Changes:
    """Return how a config differs from the values of the config that a run was saved with, apart from free keys.

    ``before`` is a result of ``absolute(...).to_dict()``, with the names that keys have now. Free keys are operational
    ones, secrets, components that only observe, and local paths and hub names in the sections ``by_content``, whose
    content is compared elsewhere. Plugin files do not count, because a run compares their digests. A key that
    ``before`` does not have, because an earlier release did not have it, had its default, as had a section that it does
    not have.
    """
    options = {path: option for path, option, _ in config_options(config)}
    new = {name for name in config.sections if name not in before and _is_default(name, config)}
    found = Changes()
    for change in differences(_deciding(before), _deciding(absolute(config).to_dict())):
        option = _option_at(options, change.path)
        markers = option.markers if option is not None else frozenset()
        placed = change.path[0] in by_content and markers & set(_PATHS)
        if markers & {"operational", "secret"} or placed or change.path[0] in new or _is_new_default(change, option):
            continue
        (found.noted if "adjustable" in markers else found.refused).append(change)
    return found


def _option_at(options: Mapping[KeyPath, Option], path: KeyPath) -> Option | None:
    """Return the option at a path, or the one that holds the mapping in which the path lies."""
    return next((options[path[:end]] for end in range(len(path), 0, -1) if path[:end] in options), None)


def _deciding(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values without plugin files, components that only observe, and the second name of the dataset."""
    left_out = {"plugins", *(kind.section for kind in Kind if kind.spec.observes)}
    kept = {name: value for name, value in values.items() if name not in left_out}
    kept["data"] = {key: value for key, value in values["data"].items() if key != "dataset_name"}
    return kept


def _is_new_default(change: Difference, option: Option | None) -> bool:
    return option is not None and change.before is ABSENT and change.after == option.default


def _is_default(section: str, config: Config) -> bool:
    """Return True if a section chooses nothing, or one component of the default type with all its defaults."""
    choice = config.sections[section]
    if choice == ():
        return True
    if not isinstance(choice, Choice) or choice.type != choice.component.kind.default_type:
        return False
    return all(getattr(holder, option.name) == option.default for holder, option in choice.held_options())


def changing_keys(config: Config) -> frozenset[KeyPath]:
    """Return the keys that may change when a run continues, with or without a report."""
    marks = {"operational", "adjustable"}
    return frozenset(path for path, option, _ in config_options(config) if option.markers & marks)


def absolute(config: Config) -> Config:
    """Return the config with absolute local paths; a value that may be a hub name changes only if the path exists.

    URLs stay as they are.
    """
    for path, option, value in list(config_options(config)):
        if isinstance(value, str) and option.markers & set(_PATHS) and not is_url(value):
            expanded = os.path.expanduser(value)  # noqa: PTH111 (pathlib raises for an unknown user)
            if "local_path" in option.markers or os.path.lexists(expanded):
                config = replace_value(config, path, str(Path(expanded).absolute()))
    return config


@dataclasses.dataclass(frozen=True)
class Difference:
    """A key whose value differs, or that one side does not have (ABSENT)."""

    path: KeyPath
    before: Any
    after: Any


@dataclasses.dataclass(frozen=True)
class Changes:
    """The differences between a run's config and the one that it would continue with."""

    refused: list[Difference] = dataclasses.field(default_factory=list)
    """Of keys that decide what the run learns from its first step on."""
    noted: list[Difference] = dataclasses.field(default_factory=list)
    """Of adjustable keys, whose new values hold from the checkpoint on."""

    def without(self, *paths: KeyPath) -> list[Difference]:
        """Return the noted differences of all other keys."""
        return [change for change in self.noted if change.path not in paths]


class _Absent:
    def __repr__(self) -> str:
        return "(none)"


ABSENT = _Absent()
"""Stands for the value of a key that one side does not have."""


def differences(before: Mapping[Any, Any], after: Mapping[Any, Any], path: KeyPath = ()) -> list[Difference]:
    """Return the leaves in which two nested dicts differ, such as two results of ``Config.to_dict``.

    Two lists of as many mappings, such as components, are compared item by item.
    """
    found: list[Difference] = []
    for key in [*before, *(key for key in after if key not in before)]:
        left, right = before.get(key, ABSENT), after.get(key, ABSENT)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += differences(left, right, (*path, key))
        elif _are_components(left) and _are_components(right) and len(left) == len(right):
            found += differences(dict(enumerate(left)), dict(enumerate(right)), (*path, key))
        elif left != right or type(left) is not type(right):
            found.append(Difference((*path, key), left, right))
    return found


def _are_components(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)
