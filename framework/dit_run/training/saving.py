"""Saving: the state of a run becomes a checkpoint; a disk that fails for a while does not end the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dit_run.assembly.layout import Layout
from dit_run.compute.distributed import Processes
from dit_run.compute.random_streams import STREAMS_VERSION
from dit_run.config.comparison import absolute
from dit_run.config.weaker_predictions import weaker_step
from dit_run.problems import DitRunError
from dit_run.reporting import Reporter
from dit_run.runs.checkpoint.commit import SaveFailed
from dit_run.runs.checkpoint.disk_space import room_notice
from dit_run.runs.checkpoint.safetensors_file import tensor_bytes
from dit_run.runs.checkpoint.store import CheckpointContents, Checkpoints
from dit_run.runs.run_folder import RunFolder
from dit_run.settings import Config
from dit_run.system.durable import DiskFailed, translate_disk_failure
from dit_run.system.units import duration_text
from dit_run.training.schedule import Schedule
from dit_run.training.state import TrainState

__all__ = ["RunFacts", "Saver"]

_MAX_FAILED_SAVES = 3
"""Failed saves in a row that end a run (number)."""


@dataclass(frozen=True)
class RunFacts:
    """The facts about a run that each of its checkpoints holds."""

    config: Config
    layout: Layout
    total_steps: int
    machine: Mapping[str, Any]
    """See :func:`dit_run.training.resume_checks.machine`."""
    plugins: tuple[Mapping[str, Any], ...]
    """Makers of the components that decide the weights: see :data:`dit_run.training.resume_checks.PLUGIN_FACTS`."""
    inputs: Mapping[str, Any]
    """See :func:`dit_run.training.resume_checks.inputs`."""
    prompts: tuple[str, ...]
    """Prompts of the previews."""
    scalar_means: Mapping[str, float]
    """Mean of each number from the data that the model takes, with which images are sampled."""

    def contents(self, state: TrainState) -> CheckpointContents:
        """Return the contents of a checkpoint of this state."""
        values = state.state_dict()
        return CheckpointContents(
            model=values.pop("model"),
            ema=values.pop("ema"),
            optimizer=values.pop("optimizer"),
            config=absolute(self.config).to_dict(),
            state={**self._values(), **values},
        )

    def _values(self) -> dict[str, Any]:
        return {
            "global_batch": self.layout.global_batch,
            "total_steps": self.total_steps,
            "plugins": [dict(plugin) for plugin in self.plugins],
            "inputs": dict(self.inputs),
            "machine": dict(self.machine),
            "processes": self.layout.processes,
            "batch_size": self.layout.batch_size,
            "streams_version": STREAMS_VERSION,
            "prompts": list(self.prompts),
            "scalars": dict(self.scalar_means),
        }


@dataclass
class Saver:
    """Saves in the first process; the other processes write nothing.

    With sharded weights all processes save together, and each gets the result.
    """

    facts: RunFacts
    checkpoints: Checkpoints
    folder: RunFolder
    processes: Processes
    reporter: Reporter
    sharded: bool = False
    shutdown: float | None = None
    """Time that the launcher gives this process to save after SIGTERM (seconds); None for as long as it takes."""
    clock: Callable[[], float] = time.monotonic
    failed: int = 0
    """Number of saves in a row that failed."""

    def save(self, state: TrainState, *, last: bool = False) -> Path | None:
        """Return the checkpoint of this state, or None where the disk failed and training continues.

        Raises DitRunError after too many failures in a row, and after any failure of the ``last`` save of this process.
        """
        began = self.clock()
        if self.sharded:
            with state.evaluation.shown():
                contents = self.facts.contents(state).gathered(keep=self.processes.first)
            path = self.processes.on_first(lambda: self._write(state, contents, last))
        elif not self.processes.first:
            return None
        else:
            with state.evaluation.shown():
                path = self._write(state, self.facts.contents(state), last)
        self._warn_of_shutdown(self.clock() - began)
        return path

    def _warn_of_shutdown(self, took: float) -> None:
        """Report once that a stop might not leave the time for a save."""
        if self.shutdown is not None and took > self.shutdown / 2:
            self.reporter.notice(
                f"a checkpoint took {duration_text(took)} to save, and torchrun kills its processes "
                f"{duration_text(self.shutdown)} after a signal to stop: start torchrun with "
                f"--shutdown-timeout {3 * took:.0f}"
            )
            self.shutdown = None

    def _write(self, state: TrainState, contents: CheckpointContents, last: bool) -> Path | None:
        try:
            with translate_disk_failure(self.folder.metrics.path):
                self.folder.metrics.sync()
            saved = self.checkpoints.save(
                state.step,
                contents,
                limit=self._limit,
                best_step=state.best.get("step"),
                protect={step for step in (weaker_step(self.facts.config),) if step is not None},
            )
        except (DiskFailed, SaveFailed) as error:
            self._note_failure(error, last)
            return None
        self.failed = 0
        for notice in saved.notices:
            self.reporter.notice(notice)
        return saved.path

    def warn_of_full_disk(self, state: TrainState, schedule: Schedule) -> None:
        """Report a disk that has no room for the checkpoints to come."""
        weights = tensor_bytes(state.denoiser.tensors())
        one = weights * (4 if state.averages is not None else 3)  # most optimizers keep two numbers for each weight
        saves = schedule.saves_after(state.step) if self._limit is None else self._limit + 1
        notice = room_notice(self.checkpoints.folder, one, limit=self._limit, saves=saves)
        if notice is not None:
            self.reporter.notice(notice)

    @property
    def _limit(self) -> int | None:
        return self.facts.config.training.save_total_limit

    def _note_failure(self, error: DitRunError, last: bool) -> None:
        self.failed += 1
        if self.failed >= _MAX_FAILED_SAVES or last:
            raise error
        self.reporter.notice(f"{error}; training continues, earlier checkpoints are untouched")
