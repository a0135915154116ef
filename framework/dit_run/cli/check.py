"""``dit-run check``: build all components, run one batch, and report whether they fit together."""

from __future__ import annotations

import argparse
from pathlib import Path

from dit_run.cli.common_options import add_config, print_notices, resolved
from dit_run.problems import InputError

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        "--output", default="check.png", metavar="FILE", help="file for the contact sheet (default: check.png)"
    )


def run(arguments: argparse.Namespace) -> int:
    sheet = Path(arguments.output)
    if sheet.is_dir() or not sheet.absolute().parent.is_dir():
        raise InputError(f"--output {sheet} cannot be written; name a file in an existing folder")
    config = resolved(arguments).config
    print_notices(config, arguments)
    from dit_run.compute.distributed import choose_device
    from dit_run.training.sanity_check import sanity_check

    report = sanity_check(config, device=choose_device(config.training.device), sheet=sheet)
    for notice in report.notices:
        print(f"note: {notice}")
    for result in report.results:
        print(f"{'ok  ' if result.passed else 'FAIL'}  {result.name}: {result.text}")
    print(f"images as the model sees them: {report.sheet}")
    return 0 if report.passed else 1
