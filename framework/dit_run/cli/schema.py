"""``dit-run schema [CONFIG]``: the JSON Schema for editors, or the reference of all keys."""

from __future__ import annotations

import argparse
from pathlib import Path

from dit_run.cli.common_options import add_plugin_flags, installed
from dit_run.cli.problem_rendering import json_text
from dit_run.config.reference import reference
from dit_run.config.resolve import registry_of
from dit_run.config.schema import compose

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", nargs="?", help="config file whose plugin files are included")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write to FILE instead of standard output")
    parser.add_argument(
        "--reference", action="store_true", help="write the reference in Markdown instead of the schema"
    )
    add_plugin_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    registry = installed(arguments)
    if arguments.config is not None:
        registry = registry_of(arguments.config, registry, config_plugins=not arguments.no_config_plugins)
    text = reference(registry) if arguments.reference else json_text(compose(registry, editor=True)) + "\n"
    if arguments.output is None:
        print(text, end="")
    else:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text, encoding="utf-8")
        print(f"wrote {arguments.output}")
    return 0
