"""``dit-run check``: build everything, take one batch, and say whether it fits together."""

from __future__ import annotations

import argparse
from pathlib import Path

from dit_run.cli.common_options import add_config, resolved
from dit_run.cli.problem_rendering import print_problems
from dit_run.problems import InputError

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("--output", default="check.png", metavar="FILE", help="the contact sheet (default: check.png)")


def run(arguments: argparse.Namespace) -> int:
    sheet = Path(arguments.output)
    if sheet.is_dir() or not sheet.absolute().parent.is_dir():
        raise InputError(f"--output {sheet}: name a file, in a folder that is there")
    config = resolved(arguments).config
    print_problems(config.notices)
    from dit_run.compute.distributed import choose_device
    from dit_run.training.sanity_check import sanity_check

    report = sanity_check(config, device=choose_device(config.training.device), sheet=sheet)
    for result in report.results:
        print(f"{'ok  ' if result.passed else 'FAIL'}  {result.name}: {result.text}")
    print(f"what the model sees: {report.sheet}")
    return 0 if report.passed else 1
