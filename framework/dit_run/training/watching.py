"""The work after a step that only watches the run: what of it is due, its order, and what is logged of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dit_run.protocols import Progress, RunEnd
from dit_run.reporting import Reporter
from dit_run.runs.run_folder import RunFolder
from dit_run.training.observer import Observer
from dit_run.training.schedule import Schedule
from dit_run.training.state import TrainState
from dit_run.training.watch_guard import WatchGuard
from dit_run.training.watch_record import WatchRecord

__all__ = ["Watching"]


@dataclass(frozen=True)
class _Work:
    name: str
    do: Callable[[], Mapping[str, float] | None]


@dataclass
class Watching:
    """Validates, samples, scores, logs and calls callbacks, in the first process.

    A checkpoint that is due after the same step is saved before all this, so that no failure here loses a step.
    """

    state: TrainState
    schedule: Schedule
    observer: Observer
    guard: WatchGuard
    folder: RunFolder
    reporter: Reporter
    latest: dict[str, float] = field(default_factory=dict)
    """Last value of everything that was logged."""
    image: Path | None = None
    """The last grid of samples."""
    _unshown: list[int] = field(default_factory=list)
    """Steps whose grid is sampled, and not yet reported as a file."""

    @property
    def record(self) -> WatchRecord:
        return self.guard.record

    @property
    def outstanding(self) -> bool:
        """True where work that is due after the last step is not done yet."""
        return self.record.watched < self.state.step

    def begin(self) -> None:
        """Take over what was recorded of the step from which the run continues."""
        self._note_best(self.folder.metrics.last(self.state.step))
        self.record.best = self.state.best

    def run(self, values: Mapping[str, float]) -> None:
        """Do all that is due after the last step; ``values`` are logged with it.

        Raises Interrupted at a stop. The record then says what is done, and a later call does the rest.
        """
        record, step = self.record, self.state.step
        record.values = {**values, **record.values}
        for work in self._due(step):
            if work.name not in record.done:
                with self.state.evaluation.shown(), self.guard.long(work.name):
                    record.values |= work.do() or {}
                record.done.append(work.name)
                if work.name == "samples":
                    self._unshown.append(step)
                    self._show_samples()
        self._note_best(record.values)
        self._log(step, record.values)
        self.notify("on_step_end", record.values)
        record.finish(step)

    def commit(self) -> None:
        """Note on disk that all that is due after the last step, which has a checkpoint, is done."""
        self.observer.flush()
        self._show_samples()
        try:
            self.folder.metrics.sync()
        except OSError:
            return  # a continued run does the work again
        self.guard.write()

    def close(self, end: RunEnd) -> None:
        """Close the observer at the end of the run."""
        self.observer.close(end, self.latest)
        self._show_samples()

    def notify(
        self,
        event: str,
        values: Mapping[str, float] | None = None,
        path: Path | None = None,
        step: int | None = None,
    ) -> None:
        """Call an event of all callbacks; ``step`` is that of the event, None for the last step."""
        done, total = self.state.step if step is None else step, self.schedule.run_length.total_steps
        self.observer.notify(event, Progress(done, total, self.folder.path, values or {}, path))

    def _due(self, step: int) -> Iterator[_Work]:
        if self.schedule.validates(step):
            yield _Work("validation", self.observer.validate)
        if self.schedule.samples(step):
            yield _Work("samples", partial(self.observer.sample, step))
        if self.schedule.scores(step):
            for index, (kind, _) in enumerate(self.observer.metrics):
                yield _Work(f"metrics[{index}] ({kind})", partial(self.observer.score, index))

    def _show_samples(self) -> None:
        """Report the grids whose files are written; a disk that fails makes some of them wait."""
        for step in tuple(self._unshown):
            path = self.observer.samples_path(step)
            if path.exists():
                self._unshown.remove(step)
                self.image = path
                self.reporter.saved(path)
                self.notify("on_sample", path=path)

    def _note_best(self, values: Mapping[str, float]) -> None:
        name = "validation/loss_ema" if self.state.averages else "validation/loss"
        lowest = self.state.best.get("loss", float("inf"))
        if self.schedule.saves(self.state.step) and values.get(name, float("inf")) < lowest:
            self.state.best = self.record.best = {"loss": values[name], "step": self.state.step}

    def _log(self, step: int, values: dict[str, float]) -> None:
        if self.schedule.samples(step):
            self.observer.log_samples(step)
        if values:
            self.latest |= values
            self.folder.metrics.append({"step": step, **values, "time": time.time()})
            self.observer.log(step, values)
            self.reporter.logged(step, values)
