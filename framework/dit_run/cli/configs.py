"""Arguments that commands taking a config share."""

from __future__ import annotations

import argparse

from dit_run.config.resolve import Resolution, resolve

__all__ = ["add_config", "add_plugin_flags", "resolved"]


def add_config(parser: argparse.ArgumentParser) -> None:
    """CONFIG, ``key=value`` arguments and the flags about plugins."""
    parser.add_argument("config", metavar="CONFIG", help="a YAML file")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="values on top of the file's: training.batch_size=8"
    )
    add_plugin_flags(parser)


def add_plugin_flags(parser: argparse.ArgumentParser) -> None:
    """``--no-plugin NAME`` and ``--no-config-plugins``."""
    parser.add_argument("--no-plugin", action="append", default=[], metavar="NAME", help="leave an installed plugin out")
    parser.add_argument(
        "--no-config-plugins", action="store_true", help="refuse plugin files that the config names"
    )


def resolved(arguments: argparse.Namespace, *extra: str) -> Resolution:
    """The config that the arguments mean; ``extra`` are further ``key=value``. Raises ConfigError."""
    return resolve(
        arguments.config,
        [*arguments.overrides, *extra],
        disabled=arguments.no_plugin,
        config_plugins=not arguments.no_config_plugins,
    )
