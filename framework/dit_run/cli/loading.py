"""What commands that read configs share: their arguments, and how a path, overrides and flags become a config."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from dit_run.config.resolve import Resolution, resolve
from dit_run.registry import Registry, discover

__all__ = ["add_plugin_flags", "installed", "resolved", "split"]

_OVERRIDE = re.compile(r"[A-Za-z_][\w.]*=")


def add_plugin_flags(parser: argparse.ArgumentParser) -> None:
    """``--no-plugin NAME`` and ``--no-config-plugins``."""
    parser.add_argument("--no-plugin", metavar="NAME", action="append", default=[], help="leave a plugin out")
    parser.add_argument("--no-config-plugins", action="store_true", help="refuse plugin files that a config names")


def installed(arguments: argparse.Namespace) -> Registry:
    """The installed plugins but for those that ``--no-plugin`` leaves out."""
    return discover(disabled=arguments.no_plugin)


def resolved(
    path: str | Path, overrides: Sequence[str], arguments: argparse.Namespace, registry: Registry | None = None
) -> Resolution:
    """A config as the flags say. Raises ConfigError."""
    known = installed(arguments) if registry is None else registry
    return resolve(path, overrides, registry=known, config_plugins=not arguments.no_config_plugins)


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Paths, and ``section.key=value`` arguments."""
    overrides = [word for word in words if _OVERRIDE.match(word) and not Path(word).exists()]
    return [word for word in words if word not in overrides], overrides
