"""``dit-run check``: build all components, run one batch, and report whether they fit; or look for a learning rate."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dit_run.cli.common_options import add_config, print_notes, print_notices, resolved
from dit_run.problems import InputError

if TYPE_CHECKING:
    from dit_run.settings import Config
    from dit_run.training.rate_sweep import RateSweep

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        "--find-lr",
        action="store_true",
        help="train up to 100 short steps with a rising learning rate instead, and suggest one; the run is not touched",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="file for the contact sheet (default: check.png), or for the plot of --find-lr (default: find-lr.png)",
    )


def run(arguments: argparse.Namespace) -> int:
    image = Path(arguments.output or ("find-lr.png" if arguments.find_lr else "check.png"))
    if image.is_dir() or not image.absolute().parent.is_dir():
        raise InputError(f"--output {image} cannot be written; name a file in an existing folder")
    config = resolved(arguments).config
    print_notices(config, arguments)
    return (_find_rate if arguments.find_lr else _check)(config, image, arguments)


def _check(config: Config, sheet: Path, arguments: argparse.Namespace) -> int:
    from dit_run.compute.devices import choose_device
    from dit_run.training.sanity_check import sanity_check

    report = sanity_check(config, device=choose_device(config.training.device), sheet=sheet)
    print_notes(report.notices, arguments)
    for result in report.results:
        print(f"{'ok  ' if result.passed else 'FAIL'}  {result.name}: {result.text}")
    print(f"images as the model sees them: {report.sheet}")
    return 0 if report.passed else 1


def _find_rate(config: Config, plot: Path, arguments: argparse.Namespace) -> int:
    from dit_run.cli.progress import progress_on_stderr
    from dit_run.compute.devices import choose_device
    from dit_run.training.rate_plot import write_plot
    from dit_run.training.rate_sweep import sweep_rates

    with progress_on_stderr(quiet=arguments.quiet) as reporter:
        sweep = sweep_rates(config, device=choose_device(config.training.device), reporter=reporter)
    if sweep.losses:
        write_plot(plot, sweep)
    for line in _sweep_lines(sweep, config):
        print(line)
    if sweep.losses:
        print(f"plot: {plot}")
    return 0 if sweep.suggestion is not None else 1


def _sweep_lines(sweep: RateSweep, config: Config) -> Iterator[str]:
    if not sweep.losses:
        yield f"the loss is {sweep.first:.4g} at first and not finite after a step; check the config without --find-lr"
        return
    yield (
        f"{len(sweep.losses)} steps of {config.training.batch_size} samples, at learning rates from "
        f"{sweep.rates[0]:.2g} to {sweep.rates[-1]:.2g}"
    )
    if sweep.lowest is None or sweep.edge is None or sweep.suggestion is None:
        yield (
            f"no rate lowered the loss from {sweep.first:.4g}: check the config without --find-lr; weights that are "
            "trained already show nothing in such short a time"
        )
        return
    yield (
        f"the loss was {sweep.first:.4g} at first and lowest at {sweep.lowest:.2g}, {min(sweep.averaged):.4g}; it kept "
        f"half of this fall up to {sweep.edge:.2g}"
    )
    yield (
        f"suggested: training.learning_rate={sweep.suggestion:.2g}, a third of that (this config has "
        f"{config.training.learning_rate:g})"
    )
