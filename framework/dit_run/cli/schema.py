"""``dit-run schema [CONFIG]``: the JSON Schema for editors, or the reference of all keys or commands."""

from __future__ import annotations

import argparse
from pathlib import Path

from dit_run.cli.commands_reference import commands_reference
from dit_run.cli.common_options import add_plugin_flags, installed
from dit_run.cli.problem_rendering import json_text
from dit_run.config.reference import reference
from dit_run.config.resolve import registry_of
from dit_run.config.schema import compose

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", nargs="?", help="config file whose plugin files are included")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write to FILE instead of standard output")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--reference", action="store_true", help="write the reference of all keys in Markdown instead")
    instead.add_argument(
        "--commands", action="store_true", help="write the reference of all commands in Markdown instead"
    )
    add_plugin_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    text = commands_reference() if arguments.commands else _of_keys(arguments)
    if arguments.output is None:
        print(text, end="")
    else:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text, encoding="utf-8")
        print(f"wrote {arguments.output}")
    return 0


def _of_keys(arguments: argparse.Namespace) -> str:
    registry = installed(arguments)
    if arguments.config is not None:
        registry = registry_of(arguments.config, registry, config_plugins=not arguments.no_config_plugins)
    return reference(registry) if arguments.reference else json_text(compose(registry, editor=True)) + "\n"
