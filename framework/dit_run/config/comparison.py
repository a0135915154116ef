"""Comparison of configs by meaning: differing keys, and the identity that decides what a run learns."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dit_run.config.keys import config_options
from dit_run.config.rules import replace_value
from dit_run.problems import KeyPath
from dit_run.registry.kinds import Kind
from dit_run.settings import Config

__all__ = ["ABSENT", "Difference", "absolute", "differences", "identity", "operational_keys"]

_PATHS = ("local_path", "hub_or_path")


def identity(config: Config) -> dict[str, Any]:
    """Return all values that decide what a run learns, with absolute paths and without operational keys.

    A run may continue under another config of equal identity. Plugin files are not part of it, because a run compares
    their digests.
    """
    values = absolute(config).to_dict()
    del values["data"]["dataset_name"]
    del values["plugins"]
    for kind in Kind:
        if kind.spec.observes:
            values.pop(kind.section, None)
    for section, *_, name in operational_keys(config):
        values.get(str(section), {}).pop(name, None)
    return values


def operational_keys(config: Config) -> frozenset[KeyPath]:
    """Return the keys that may change when a run continues."""
    return frozenset(path for path, option, _ in config_options(config) if "operational" in option.markers)


def absolute(config: Config) -> Config:
    """Return the config with absolute local paths; a value that may be a hub name changes only if the path exists."""
    for path, option, value in list(config_options(config)):
        if isinstance(value, str) and option.markers & set(_PATHS):
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


class _Absent:
    def __repr__(self) -> str:
        return "(none)"


ABSENT = _Absent()
"""Stands for the value of a key that one side does not have."""


def differences(before: Mapping[str, Any], after: Mapping[str, Any], path: KeyPath = ()) -> list[Difference]:
    """Return the leaves in which two nested dicts differ, such as two results of ``Config.to_dict``."""
    found: list[Difference] = []
    for key in [*before, *(key for key in after if key not in before)]:
        left, right = before.get(key, ABSENT), after.get(key, ABSENT)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += differences(left, right, (*path, key))
        elif left != right or type(left) is not type(right):
            found.append(Difference((*path, key), left, right))
    return found
