"""Arguments that several commands share, and the config they stand for."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dit_run.cli.problem_rendering import print_problems
from dit_run.config.resolve import Resolution, resolve
from dit_run.registry.registry import Registry, discover
from dit_run.settings import Config

__all__ = [
    "add_config",
    "add_overrides",
    "add_plugin_flags",
    "add_run",
    "installed",
    "keys_and_overrides",
    "print_notes",
    "print_notices",
    "read_config",
    "resolved",
    "setting",
]

_OVERRIDE = re.compile(r"[A-Za-z_][\w.\[\]]*=")


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add CONFIG, ``key=value`` arguments and the flags about plugins."""
    parser.add_argument("config", metavar="CONFIG", help="config file (YAML)")
    add_overrides(parser)
    add_plugin_flags(parser)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="key=value",
        help="replace a value of the config: training.batch_size=8",
    )


def add_plugin_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--no-plugin NAME`` and ``--no-config-plugins``."""
    parser.add_argument("--no-plugin", action="append", default=[], metavar="NAME", help="ignore an installed plugin")
    parser.add_argument(
        "--no-config-plugins",
        action="store_true",
        help="refuse a config that names plugin files (their code would run)",
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add RUN and the choice of its weights."""
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument(
        "--checkpoint",
        metavar="NAME",
        help="best (lowest validation loss), last, or a step such as 100 (default: last, the newest complete one)",
    )
    parser.add_argument("--no-ema", action="store_true", help="use the trained weights instead of their average")
    parser.add_argument(
        "--average",
        metavar="NAME",
        help="use this average: one that the run keeps, or that dit-run average made",
    )
    parser.add_argument("--allow-plugins", action="store_true", help="run the plugin files in the run folder")


def resolved(arguments: argparse.Namespace, *extra: str) -> Resolution:
    """Return the config that the arguments stand for, with ``extra`` overrides on top. Raises ConfigError."""
    return read_config(arguments.config, [*arguments.overrides, *extra], arguments, installed(arguments))


def installed(arguments: argparse.Namespace) -> Registry:
    """Return the installed plugins without those that ``--no-plugin`` names."""
    return discover(disabled=arguments.no_plugin)


def read_config(path: str, overrides: Sequence[str], arguments: argparse.Namespace, registry: Registry) -> Resolution:
    """Read one config with the plugins of a registry. Raises ConfigError."""
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


def print_notices(config: Config, arguments: argparse.Namespace) -> None:
    if not arguments.quiet:
        print_problems(config.notices)


def print_notes(lines: Iterable[str], arguments: argparse.Namespace) -> None:
    """Print notes about a result to standard error, which leaves standard output to the result."""
    for line in () if arguments.quiet else lines:
        print(f"note: {line}", file=sys.stderr)


def setting(key: str, text: str) -> str:
    """Return a ``key=value`` argument whose value is this text, even if YAML would read it as another type."""
    return f"{key}={json.dumps(text)}"


def keys_and_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate ``section.key=value`` arguments from keys or paths."""
    overrides = [word for word in words if _OVERRIDE.match(word) and not Path(word).exists()]
    return [word for word in words if word not in overrides], overrides
