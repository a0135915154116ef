"""``dit-run average``: make an average of a run's weights of any length, after training."""

from __future__ import annotations

import argparse
from pathlib import Path

from dit_run.cli.common_options import print_notes

__all__ = ["configure", "run"]

_FAR = 0.1
"""Reconstruction error from which the average is not what was asked for."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument(
        "--length",
        type=float,
        required=True,
        metavar="L",
        help="length of the average as a share of the steps, such as 0.1: the standard deviation of its shares of them",
    )
    parser.add_argument("--name", metavar="NAME", help="name for sample --average (default: length-L)")
    parser.add_argument(
        "--checkpoint",
        metavar="NAME",
        help="checkpoint at which the average ends: best, last or a step (default: last)",
    )
    parser.add_argument("--allow-plugins", action="store_true", help="run the plugin files in the run folder")


def run(arguments: argparse.Namespace) -> int:
    from dit_run.runs.run_folder import RunFolder
    from dit_run.sampling.average_weights import average_weights

    made = average_weights(
        RunFolder(Path(arguments.run)),
        arguments.length,
        name=arguments.name,
        checkpoint=arguments.checkpoint,
        allow_plugins=arguments.allow_plugins,
    )
    if made.error > _FAR:
        line = (
            f"{made.checkpoints} checkpoints do not give this average: its reconstruction error is {made.error:.1%}. "
            "Keep more of them (training.save_total_limit: null), or ask for a length nearer to that of the run's own "
            "average"
        )
        print_notes([line], arguments)
    print(
        f"{made.path}  from {made.checkpoints} checkpoints up to step {made.step}, "
        f"reconstruction error {made.error:.2%}"
    )
    return 0
