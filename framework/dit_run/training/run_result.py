"""The result of a run, and the end of a run that finished or was stopped."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dit_run.compute.distributed import translate_lost_process
from dit_run.runs.checkpoint.commit import clean
from dit_run.training.loop import Loop
from dit_run.training.run_context import RunContext
from dit_run.training.watch_record import WatchFailure, WatchRecord

__all__ = ["RunResult", "end_run", "finished_result", "is_finished"]


@dataclass(frozen=True)
class RunResult:
    """The result of a run."""

    path: Path
    """The run folder."""
    step: int
    """Optimizer steps done."""
    values: Mapping[str, float] = field(default_factory=dict)
    """Last value of everything that was logged."""
    image: Path | None = None
    """The last grid of samples."""
    total_steps: int = 0
    """0 for a run that was stopped before its length was known."""
    exit_status: int = 0
    """Exit status of the command; 0 for a run that reached its end."""
    stopped: bool = False
    """True for a run that was stopped before its end."""
    already_finished: bool = False
    failures: tuple[str, ...] = ()
    """Failures of the work that only watches the run: validation, samples, metrics, callbacks and trackers."""


def is_finished(run: RunContext) -> bool:
    """Return True if the last steps of the run were followed by all work that comes after them."""
    status = run.processes.on_first(lambda: dict(run.folder.read_status() or {}))
    return status.get("state") == "finished"


def finished_result(run: RunContext, step: int) -> RunResult:
    """Return the result of a run that reached its end before."""
    failures = run.processes.on_first(lambda: WatchRecord.of(run.folder.read_status(), step).failures)
    return RunResult(
        run.folder.path,
        step,
        total_steps=step,
        exit_status=_status_of_end(run, failures),
        already_finished=True,
        failures=tuple(map(str, failures)),
    )


def _status_of_end(run: RunContext, failures: Sequence[WatchFailure]) -> int:
    """Return the exit status of a run that reached its end."""
    return 1 if failures and run.config.training.on_watch_error == "fail" else 0


def end_run(run: RunContext, loop: Loop, finished: bool, together: bool) -> RunResult:
    """Write the status of a run that reached its end or was stopped; processes that stop together wait for all."""
    step, watching = loop.state.step, loop.watching
    if run.processes.first:
        with contextlib.suppress(OSError):
            clean(run.checkpoints.folder)
    reason = "" if finished else run.stop.reason
    run.write_status("finished" if finished else "interrupted", step, reason, watching.record)
    if not finished:
        run.reporter.notice(f"stopped after step {step} of {loop.total_steps}; the same command continues")
    if together:
        with translate_lost_process(run.processes):
            run.processes.barrier()  # torchrun ends all processes when the first one leaves, even while they write
    failures = watching.record.failures
    return RunResult(
        run.folder.path,
        step,
        watching.latest,
        watching.image,
        loop.total_steps,
        _status_of_end(run, failures) if finished else run.stop.exit_status,
        stopped=not finished,
        failures=tuple(map(str, failures)),
    )
