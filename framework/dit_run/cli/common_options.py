"""Arguments that commands taking configs share, and how they become a config."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dit_run.config.resolve import Resolution, resolve
from dit_run.registry.registry import Registry, discover

__all__ = ["add_config", "add_plugin_flags", "installed", "keys_and_overrides", "read_config", "resolved", "setting"]

_OVERRIDE = re.compile(r"[A-Za-z_][\w.]*=")


def add_config(parser: argparse.ArgumentParser) -> None:
    """CONFIG, ``key=value`` arguments and the flags about plugins."""
    parser.add_argument("config", metavar="CONFIG", help="a YAML file")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="values on top of the file's: training.batch_size=8"
    )
    add_plugin_flags(parser)


def add_plugin_flags(parser: argparse.ArgumentParser) -> None:
    """``--no-plugin NAME`` and ``--no-config-plugins``."""
    parser.add_argument(
        "--no-plugin", action="append", default=[], metavar="NAME", help="leave an installed plugin out"
    )
    parser.add_argument("--no-config-plugins", action="store_true", help="refuse plugin files that the config names")


def resolved(arguments: argparse.Namespace, *extra: str) -> Resolution:
    """The config that the arguments mean; ``extra`` are further ``key=value``. Raises ConfigError."""
    return read_config(arguments.config, [*arguments.overrides, *extra], arguments, installed(arguments))


def installed(arguments: argparse.Namespace) -> Registry:
    """The installed plugins but for those that ``--no-plugin`` leaves out."""
    return discover(disabled=arguments.no_plugin)


def read_config(path: str, overrides: Sequence[str], arguments: argparse.Namespace, registry: Registry) -> Resolution:
    """One config over a registry, as the flags say. Raises ConfigError."""
    return resolve(
        path,
        overrides,
        registry=registry,
        config_plugins=not arguments.no_config_plugins,
        plugin_records=_plugin_records,
    )


def _plugin_records(run_dir: Path) -> Sequence[Mapping[str, Any]]:
    from dit_run.runs.run_folder import RunFolder  # for a config with an unknown type only

    return RunFolder(run_dir).plugin_records()


def setting(key: str, text: str) -> str:
    """A ``key=value`` argument whose value is this text, also where YAML would read a number or more in it."""
    return f"{key}={json.dumps(text)}"


def keys_and_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Paths or keys, and ``section.key=value`` arguments, for commands that take several of the former."""
    overrides = [word for word in words if _OVERRIDE.match(word) and not Path(word).exists()]
    return [word for word in words if word not in overrides], overrides
