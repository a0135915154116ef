"""Identity: what a run learns from, and how two configs differ by meaning."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dit_run.config.keys import config_options
from dit_run.config.rules import replace_value
from dit_run.problems import KeyPath
from dit_run.registry.kinds import Kind
from dit_run.settings import Config

__all__ = ["ABSENT", "Difference", "absolute", "differences", "digest", "identity", "operational_keys"]

_PATHS = ("local_path", "hub_or_path")


def digest(config: Config) -> str:
    """sha256 of all values, as hexadecimal: independent of comments, of the order of keys and of what was written."""
    text = json.dumps(config.to_dict(), sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def identity(config: Config) -> dict[str, Any]:
    """All values that decide what is learnt, nested as in the config: no operational key, paths absolute.

    A run may continue under another config of equal identity. Plugin files are not part of it; their digests are
    compared by whoever has both.
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
    """The keys that may change when a run continues."""
    return frozenset(path for path, option, _ in config_options(config) if "operational" in option.markers)


def absolute(config: Config) -> Config:
    """The config with its local paths absolute; a hub name stays one, unless such a path exists."""
    for path, option, value in list(config_options(config)):
        if isinstance(value, str) and option.markers & set(_PATHS):
            expanded = os.path.expanduser(value)  # noqa: PTH111 (pathlib's raises for a user that is not)
            if "local_path" in option.markers or os.path.lexists(expanded):
                config = replace_value(config, path, str(Path(expanded).absolute()))
    return config


@dataclasses.dataclass(frozen=True)
class Difference:
    """One key whose value differs; ABSENT stands for a key that the other side does not have."""

    path: KeyPath
    before: Any
    after: Any


class _Absent:
    def __repr__(self) -> str:
        return "(none)"


ABSENT = _Absent()
"""The value of a key that one side does not have."""


def differences(before: Mapping[str, Any], after: Mapping[str, Any], path: KeyPath = ()) -> list[Difference]:
    """The leaves in which two nested dicts differ, such as those of :func:`identity` or ``Config.to_dict``."""
    found: list[Difference] = []
    for key in [*before, *(key for key in after if key not in before)]:
        left, right = before.get(key, ABSENT), after.get(key, ABSENT)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += differences(left, right, (*path, key))
        elif left != right or type(left) is not type(right):
            found.append(Difference((*path, key), left, right))
    return found
