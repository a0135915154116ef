"""Home folders: ``~`` in the paths of a config, expanded once, so that every reader of a path gets the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from dit_run.config.keys import config_options, key_name
from dit_run.config.rule_checks import refuse, replace_value
from dit_run.problems import KeyPath, Problem
from dit_run.settings import Config

__all__ = ["expand_home", "path_of", "with_homes"]

_PATHS = {"local_path", "hub_or_path"}


@dataclass(frozen=True)
class _Written:
    """A path that begins with ``~``."""

    key: KeyPath
    index: int | None
    """Place in a list of paths."""
    text: str


def with_homes(config: Config) -> Config:
    """Return the config with ``~`` and ``~user`` expanded in all its paths.

    Raises ConfigError where there is no such home folder: a folder called ``~`` is never meant.
    """
    written = list(_written(config))
    refuse(config, (_unknown(path) for path in written if expand_home(path.text) is None))
    for path in written:
        values = {key: value for key, _, value in config_options(config)}
        config = replace_value(config, path.key, _expanded(values[path.key], path))
    return config


def path_of(text: str) -> str:
    """Return the path with its home folder, if there is one: a missing file is reported where it is read."""
    return expand_home(text) or text


def expand_home(text: str) -> str | None:
    """Return the path with its home folder; None where the user is unknown or has no home folder."""
    expanded = os.path.expanduser(text)  # noqa: PTH111 (pathlib raises for an unknown user)
    return None if expanded.startswith("~") else expanded


def _written(config: Config) -> Iterator[_Written]:
    for key, option, value in config_options(config):
        if option.markers & _PATHS:
            listed = isinstance(value, tuple | list)
            for index, text in enumerate(value if listed else [value]):
                if isinstance(text, str) and text.startswith("~"):
                    yield _Written(key, index if listed else None, text)


def _expanded(value: object, path: _Written) -> object:
    expanded = expand_home(path.text)
    if path.index is None or not isinstance(value, tuple | list):
        return expanded
    return type(value)(expanded if index == path.index else each for index, each in enumerate(value))


def _unknown(path: _Written) -> Problem:
    user = path.text.split("/")[0].removeprefix("~")
    reason = f"there is no user {user}" if user else f"HOME is not set, and user {os.getuid()} has no home folder"
    message = f"{key_name(path.key)} is {path.text}, but {reason}"
    remedy = "write the whole path instead of ~" + ("" if user else ", or set HOME")
    return Problem("no-home-folder", message, path.key, help=(remedy,))
