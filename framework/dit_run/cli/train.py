"""``dit-run train``: train, or continue an unfinished run."""

from __future__ import annotations

import argparse
import os
import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from dit_run.cli.common_options import add_config, resolved, setting
from dit_run.cli.view_extra import require_view
from dit_run.cli.view_process import page_of
from dit_run.compute.launchers import find_launch
from dit_run.config.resolve import Resolution
from dit_run.problems import InputError
from dit_run.runs.beginning import forked_from, holds_run, was_begun_fresh
from dit_run.runs.run_folder import RunFolder
from dit_run.system.signals import ended_by_interrupt

if TYPE_CHECKING:
    from dit_run.reporting import Reporter
    from dit_run.runs.checkpoint.store import Checkpoints
    from dit_run.training.run import RunResult

__all__ = ["configure", "run"]

_SUMMARY = ("loss", "validation/loss", "validation/loss_ema")
_BREAKDOWNS = ("validation", "probe", "profile")


def configure(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--fresh", metavar="DIR", help="start a new run in DIR")
    start.add_argument("--fork", metavar="DIR", help="start a new run in DIR from the newest checkpoint of this run")
    parser.add_argument(
        "--allow-changed-plugins", action="store_true", help="continue even if a plugin changed since the checkpoint"
    )
    parser.add_argument("--view", action="store_true", help="show the run in a browser while it trains")
    parser.add_argument("--profile", action="store_true", help="log the time of each part of a step, and write a trace")


def run(arguments: argparse.Namespace) -> int:
    with ended_by_interrupt():
        if arguments.view:
            require_view()
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    resolution = resolved(arguments)
    elsewhere = arguments.fresh or arguments.fork
    fork_from = None
    if elsewhere is not None:
        folder, source = RunFolder(Path(elsewhere)), RunFolder(Path(resolution.config.training.output_dir))
        _refuse_other_run(folder, source if arguments.fork is not None else None)
        if arguments.fork is not None and not _checkpoints(folder).paths():
            fork_from = _newest_checkpoint(source)
        resolution = resolved(arguments, setting("training.output_dir", elsewhere))
    return _train(resolution, fork_from, arguments)


def _refuse_other_run(folder: RunFolder, forked: RunFolder | None) -> None:
    """Raise InputError for a folder with a run that an earlier call of the same command did not begin.

    ``forked`` is the run that ``--fork`` continues from; None for ``--fresh``.
    """
    if not holds_run(folder):
        return
    begun_here = was_begun_fresh(folder) if forked is None else forked_from(folder) == forked.run_id()
    if not begun_here:
        raise InputError(f"{folder.path} already holds a run; name a new folder after --fresh or --fork")


def _checkpoints(folder: RunFolder) -> Checkpoints:
    from dit_run.runs.checkpoint.store import Checkpoints

    return Checkpoints(folder.checkpoints, folder.run_id())


def _newest_checkpoint(folder: RunFolder) -> Path:
    newest = _checkpoints(folder).newest_valid().path
    if newest is None:
        raise InputError(
            f"{folder.path} (training.output_dir) has no checkpoint to fork from; start a new run with --fresh DIR"
        )
    return newest


def _summarise(outcome: RunResult, reporter: Reporter) -> None:
    """Report the values of a finished run's last step, and its newest image."""
    shown = [name for name in outcome.values if name in _SUMMARY or name.split("/")[0] not in _BREAKDOWNS]
    shown = [name for name in shown if "/" in name or name == "loss"]
    width = max(map(len, shown), default=0)
    lines = [f"  {name:<{width}}  {outcome.values[name]:.4f}" for name in shown]
    reporter.notice("\n".join([f"finished after {outcome.step} steps: {outcome.path}", *lines]))
    _report_failures(outcome, reporter)
    if outcome.image is not None:
        reporter.notice(f"newest image: {outcome.image}")
    reporter.notice(f"look at it in a browser: dit-run view {shlex.quote(str(outcome.path))}")


def _report_failures(outcome: RunResult, reporter: Reporter) -> None:
    """Report what failed of the work that only watches the run."""
    if outcome.failures:
        lines = [f"  {failure}" for failure in outcome.failures]
        reporter.notice("\n".join(["the weights are complete, but some work on them failed:", *lines]))


def _train(resolution: Resolution, fork_from: Path | None, chosen: argparse.Namespace) -> int:
    from dit_run.cli.progress import ConsoleReporter
    from dit_run.reporting import Silent
    from dit_run.training.run import train

    first = find_launch(os.environ).rank == 0
    reporter = ConsoleReporter() if first and not chosen.quiet else Silent()
    shown = page_of(Path(resolution.config.training.output_dir)) if chosen.view and first else nullcontext()
    with shown as link:
        if link is not None:
            reporter.notice(f"look at it in a browser: {link}")
        outcome = train(
            resolution.config,
            resolution.registry,
            reporter=reporter,
            arguments=chosen.command_line,
            fork_from=fork_from,
            profile=chosen.profile,
            allow_changed_plugins=chosen.allow_changed_plugins,
        )
    if outcome.already_finished:
        reporter.notice(
            f"the run in {outcome.path} finished after {outcome.step} steps; start a new run with --fresh DIR, or "
            "continue this one with a larger training.max_steps or num_epochs, if its learning rates do not depend on "
            "the length (lr_scheduler.type: constant)"
        )
        _report_failures(outcome, reporter)
    elif not outcome.stopped:
        _summarise(outcome, reporter)
    return outcome.exit_status
