"""``dit-run validate CONFIG…``: check configs without running them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dit_run.cli.common_options import add_plugin_flags, installed, keys_and_overrides, read_config
from dit_run.cli.problem_rendering import FORMATS, as_github, as_json, json_text, print_problems
from dit_run.config.machine_rules import check_machine
from dit_run.problems import ConfigError, InputError, Problem
from dit_run.registry.registry import Registry

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", metavar="CONFIG|key=value", nargs="+", help="config files, and values to replace in each of them"
    )
    parser.add_argument("--format", choices=FORMATS, default="text", help="output format (default: text)")
    add_plugin_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Return 0 if every config is valid, else 2."""
    paths, overrides = keys_and_overrides(arguments.words)
    if not paths:
        raise InputError("no config is given; name a YAML file")
    registry = installed(arguments)
    results = {path: _problems(path, overrides, arguments, registry) for path in paths}
    {"text": _text, "json": _json, "github": _github}[arguments.format](results)
    return 0 if all(_valid(problems) for problems in results.values()) else 2


def _problems(
    path: str, overrides: Sequence[str], arguments: argparse.Namespace, registry: Registry
) -> tuple[Problem, ...]:
    try:
        config = read_config(path, overrides, arguments, registry).config
        check_machine(config)
        return () if arguments.quiet else config.notices
    except ConfigError as error:
        return error.problems


def _valid(problems: Sequence[Problem]) -> bool:
    return all(problem.severity != "error" for problem in problems)


def _text(results: dict[str, tuple[Problem, ...]]) -> None:
    for path, problems in results.items():
        print_problems(problems)
        errors = sum(problem.severity == "error" for problem in problems)
        if errors:
            print(f"{path}: {errors} problem{'s' if errors > 1 else ''}", file=sys.stderr)
        else:
            print(f"{path}: valid")


def _json(results: dict[str, tuple[Problem, ...]]) -> None:
    checked = [
        {"config": path, "valid": _valid(problems), "problems": as_json(problems)} for path, problems in results.items()
    ]
    print(json_text(checked))


def _github(results: dict[str, tuple[Problem, ...]]) -> None:
    for problems in results.values():
        for problem in problems:
            print(as_github(problem))
