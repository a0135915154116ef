"""Saving: the state of a run becomes a checkpoint; a disk that fails for a while does not end the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dit_run.assembly.layout import Layout
from dit_run.compute.distributed import Processes
from dit_run.compute.memory_meter import available_memory
from dit_run.compute.random_streams import STREAMS_VERSION
from dit_run.compute.sharding import Sharding
from dit_run.config.comparison import absolute
from dit_run.config.weaker_predictions import weaker_step
from dit_run.problems import DitRunError
from dit_run.reporting import Reporter
from dit_run.runs.checkpoint.checkpoint_files import CheckpointContents, needed_bytes
from dit_run.runs.checkpoint.commit import SaveFailed
from dit_run.runs.checkpoint.disk_space import room_notice
from dit_run.runs.checkpoint.part_files import Part
from dit_run.runs.checkpoint.safetensors_file import tensor_bytes
from dit_run.runs.checkpoint.store import Checkpoints, Saved
from dit_run.runs.run_folder import RunFolder
from dit_run.settings import Config
from dit_run.system.background import run_in_thread, run_now
from dit_run.system.durable import DiskFailed, translate_disk_failure
from dit_run.system.units import duration_text, size_text
from dit_run.training.schedule import Schedule
from dit_run.training.state import TrainState

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["RunFacts", "SavedState", "Saver", "saves_behind"]

_MAX_FAILED_SAVES = 3
"""Failed saves in a row that end a run (number)."""
_SHOWN_EVERY = 1.0
"""Time after which a process that waits for its own save shows progress to the others (seconds)."""


def saves_behind(wanted: bool | str, device: torch.device) -> bool:
    """Return True where ``training.async_save`` writes checkpoints while this device trains."""
    return device.type != "cpu" if wanted == "auto" else bool(wanted)


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
            averages=values.pop("averages"),
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


@dataclass(frozen=True)
class SavedState:
    """A state with a complete checkpoint."""

    step: int
    path: Path


@dataclass(frozen=True)
class _Writing:
    """A checkpoint that is being written, or was."""

    step: int
    last: bool
    result: Future[tuple[Saved, float]]
    """The checkpoint, and the seconds that it took."""


@dataclass
class Saver:
    """Saves in the first process; the other processes write nothing.

    With sharded weights all processes save together: each writes its part, and gets the result. A save is begun by
    :meth:`begin`, and its result is asked for by :meth:`settle`; in between it may be written by a thread.
    """

    facts: RunFacts
    checkpoints: Checkpoints
    folder: RunFolder
    processes: Processes
    reporter: Reporter
    sharding: Sharding | None = None
    behind: bool = False
    """Write in a thread, from copies in host memory, as long as that has room for them."""
    shutdown: float | None = None
    """Time that the launcher gives this process to save after SIGTERM (seconds); None for as long as it takes."""
    clock: Callable[[], float] = time.monotonic
    available: Callable[[], int] = available_memory
    """Returns the free memory of the host (bytes)."""
    failed: int = 0
    """Number of saves in a row that failed."""
    apart: Processes = field(init=False)
    """The processes in a thread of their own."""
    _writing: _Writing | None = None
    _copies: int = 0
    """Size of the copies for which the host had room (bytes)."""

    def __post_init__(self) -> None:
        self.apart = self.processes if self.sharding is None else self.processes.apart()

    def begin(self, state: TrainState, *, last: bool = False) -> None:
        """Save this state, or begin to, after the save before is settled.

        The ``last`` save of this process is done on return.
        """
        assert self._writing is None
        if self.sharding is None and not self.processes.first:
            return
        with state.evaluation.shown():
            contents = self.facts.contents(state)
            if self.sharding is not None:
                contents = contents.split(Part(self.sharding.index, self.sharding.count))
            at_once = last or state.step in self._needed
            behind = self.behind and not at_once and self._has_room(contents)
            write = partial(self._write, contents.copied() if behind else contents, state.step, state.best.get("step"))
            result = run_in_thread(write, needed=True) if behind else run_now(write)
        self._writing = _Writing(state.step, last, result)

    def settle(self, *, wait: bool = False) -> SavedState | None:
        """Return the state whose checkpoint was completed since the last call, if any.

        ``wait`` waits for one that is being written. A failure is reported, and training continues. Raises DitRunError
        after too many failures in a row, and after any failure of the ``last`` save of this process.
        """
        writing = self._writing
        if writing is None or not (wait or writing.result.done()):
            return None
        self._wait(writing.result)
        self._writing = None
        try:
            saved, took = writing.result.result()
        except (DiskFailed, SaveFailed) as error:
            self._note_failure(error, writing.last)
            return None
        self.failed = 0
        for notice in saved.notices:
            self.reporter.notice(notice)
        self._warn_of_shutdown(took)
        return SavedState(writing.step, saved.path)

    def _wait(self, result: Future[Any]) -> None:
        """Wait for a result while the other processes see progress."""
        while not result.done():
            with suppress(TimeoutError):
                result.exception(timeout=_SHOWN_EVERY)
            self.processes.show_progress()

    def _has_room(self, contents: CheckpointContents) -> bool:
        """Return True where the host has room for copies of these contents; report once where it has not."""
        needed = needed_bytes(contents)
        if needed > self._copies and needed > (room := self.available()):
            self.behind = False
            self.reporter.notice(
                f"training waits for each checkpoint while it is written: writing it meanwhile (training.async_save) "
                f"needs a copy of {size_text(needed)}, and the host has {size_text(room)} of memory left"
            )
        self._copies = max(self._copies, needed)
        return self.behind

    def _warn_of_shutdown(self, took: float) -> None:
        """Report once that a stop might not leave the time for a save."""
        if self.shutdown is not None and took > self.shutdown / 2:
            self.reporter.notice(
                f"a checkpoint took {duration_text(took)} to save, and torchrun kills its processes "
                f"{duration_text(self.shutdown)} after a signal to stop: start torchrun with "
                f"--shutdown-timeout {3 * took:.0f}"
            )
            self.shutdown = None

    def _write(self, contents: CheckpointContents, step: int, best: int | None) -> tuple[Saved, float]:
        """Return the written checkpoint, and the seconds that it took. Raises DiskFailed and SaveFailed."""
        began = self.clock()
        if self.sharding is None:
            self._sync_metrics()
            saved = self.checkpoints.save(step, contents, limit=self._limit, best_step=best, protect=self._needed)
        else:
            saved = self._write_together(contents, step, best)
        return saved, self.clock() - began

    def _write_together(self, contents: CheckpointContents, step: int, best: int | None) -> Saved:
        """Write this process's part; the first replica of the weights has all of them."""
        assert self.sharding is not None
        own = contents if self.sharding.replica == 0 else None
        try:
            self.apart.on_first(self._sync_metrics)
            return self.checkpoints.save_together(
                step, own, self.apart, limit=self._limit, best_step=best, protect=self._needed
            )
        except DitRunError as error:  # of the first process, perhaps in another one
            raise SaveFailed(str(error)) from error

    def _sync_metrics(self) -> None:
        with translate_disk_failure(self.folder.metrics.path):
            self.folder.metrics.sync()

    def warn_of_full_disk(self, state: TrainState, schedule: Schedule) -> None:
        """Report a disk that has no room for the checkpoints to come."""
        weights = tensor_bytes(state.denoiser.tensors())
        one = weights * (3 + len(state.averages))  # most optimizers keep two numbers for each weight
        saves = schedule.saves_after(state.step) if self._limit is None else self._limit + 1
        notice = room_notice(self.checkpoints.folder, one, limit=self._limit, saves=saves)
        if notice is not None:
            self.reporter.notice(notice)

    @property
    def _needed(self) -> set[int]:
        """Steps of checkpoints that the run itself reads after them."""
        return {step for step in (weaker_step(self.facts.config),) if step is not None}

    @property
    def _limit(self) -> int | None:
        return self.facts.config.training.save_total_limit

    def _note_failure(self, error: DitRunError, last: bool) -> None:
        self.failed += 1
        if self.failed >= _MAX_FAILED_SAVES or last:
            raise error
        self.reporter.notice(f"{error}; training continues, earlier checkpoints are untouched")
