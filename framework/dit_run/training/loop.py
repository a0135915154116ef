"""The training loop: from the step of its state to the last, with all work that is due on the way."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from dit_run.assembly.layout import Layout
from dit_run.compute.distributed import Processes
from dit_run.protocols import Progress
from dit_run.reporting import Reporter
from dit_run.runs.run_folder import RunFolder
from dit_run.training.compile import run_eagerly
from dit_run.training.observer import Observer
from dit_run.training.saving import Saver
from dit_run.training.schedule import Schedule
from dit_run.training.state import TrainState
from dit_run.training.step import EncodedBatch, StepResult, TrainingStep
from dit_run.training.step_timer import StepTimer

__all__ = ["Loop"]


@dataclass
class Loop:
    """A run in this process."""

    state: TrainState
    step: TrainingStep
    layout: Layout
    schedule: Schedule
    processes: Processes
    reporter: Reporter
    observer: Observer
    saver: Saver
    folder: RunFolder
    timer: StepTimer
    stop_requested: Callable[[], bool]
    """Called once a step in every process; True stops all of them."""
    latest: dict[str, float] = field(default_factory=dict)
    """Last value of everything that this process logged."""
    image: Path | None = None
    """The last grid of samples."""
    _counted_from: tuple[int, float] = (0, 0.0)
    """Step and time from which on images per second are counted."""

    @property
    def total_steps(self) -> int:
        return self.schedule.run_length.total_steps

    def run(self, batches: Iterator[EncodedBatch]) -> bool:
        """Train to the end and return True; if stopped before, save and return False."""
        self._counted_from = (self.state.step, time.monotonic())
        self.reporter.begin(self.state.step, self.total_steps)
        self._notify("on_train_start")
        try:
            while self.state.step < self.total_steps:
                saved = self._do_due_work(self._advance(batches))
                if self.state.step < self.total_steps and self.processes.any(self.stop_requested()):
                    if not saved:
                        self._save(last=True)
                    return False
        finally:
            self.reporter.end()
        self._notify("on_train_end")
        return True

    def _advance(self, batches: Iterator[EncodedBatch]) -> StepResult:
        state, accumulation = self.state, self.layout.accumulation
        micro_batches = list(islice(batches, accumulation)) if accumulation > 1 else [next(batches)]
        result = self.step.run(state.step, micro_batches, count=accumulation, first_index=self.layout.first_micro_batch)
        state.nonfinite.add(state.step + 1, result, micro_batches)
        if state.averages is not None:
            # After a skipped update, too: the weights have not changed, and asking would wait for the device.
            with self.timer.phase("optimizer"):
                state.averages.update(state.step)
        state.step += 1
        state.meters.add(result)
        self.timer.step(state.step)
        return result

    def _do_due_work(self, result: StepResult) -> bool:
        """Do all work that is due after a step. Returns True if this process saved a checkpoint."""
        step = self.state.step
        self.reporter.step(step, result.loss.item() if result.loss.device.type == "cpu" else None)
        values = self._read_meters() if self.schedule.logs(step) else {}
        if self.processes.first:
            values |= self._observe()
        self._publish(values)
        self._notify("on_step_end", values)
        return self._save(last=step == self.total_steps) if self.schedule.saves(step) else False

    def _read_meters(self) -> dict[str, float]:
        state, length = self.state, self.schedule.run_length
        step, since = self._counted_from
        now = time.monotonic()
        self._counted_from = (state.step, now)
        return {
            "epoch": state.step * length.global_batch / length.size,
            **state.meters.read(),
            "learning_rate": self.step.learning_rate(state.step - 1),
            "images_per_second": (state.step - step) * self.layout.global_batch / max(now - since, 1e-9),
            **self.timer.read(now - since),
        }

    def _observe(self) -> dict[str, float]:
        """Validate, sample and score where that is due; return the values to log."""
        values: dict[str, float] = {}
        step = self.state.step
        with self._uncounted(), run_eagerly():
            if self.schedule.validates(step):
                values |= self.observer.validate()
                self._note_best(values)
            if self.schedule.samples(step):
                self.image = self.observer.sample(step)
                self.reporter.saved(self.image)
                self._notify("on_sample", path=self.image)
            if self.schedule.scores(step):
                values |= self.observer.score()
        return values

    @contextlib.contextmanager
    def _uncounted(self) -> Iterator[None]:
        """Leave the time of this work out of images per second and of a profile."""
        began = time.monotonic()
        yield
        step, since = self._counted_from
        self._counted_from = (step, since + time.monotonic() - began)

    def _note_best(self, values: Mapping[str, float]) -> None:
        name = "validation/loss_ema" if self.state.averages is not None else "validation/loss"
        lowest = self.state.best.get("loss", float("inf"))
        if self.schedule.saves(self.state.step) and values.get(name, float("inf")) < lowest:
            self.state.best = {"loss": values[name], "step": self.state.step}

    def _publish(self, values: dict[str, float]) -> None:
        if not values or not self.processes.first:
            return
        self.latest |= values
        self.folder.record({"step": self.state.step, **values, "time": time.time()})
        self.observer.log(self.state.step, values)
        self.reporter.logged(self.state.step, values)

    def _save(self, *, last: bool) -> bool:
        self.state.nonfinite.settle()
        with self._uncounted():
            self.observer.flush()
            path = self.saver.save(self.state, last=last)
            if path is not None:
                self.reporter.saved(path)
                self._notify("on_checkpoint_saved", path=path)
        return path is not None

    def _notify(self, event: str, values: Mapping[str, float] | None = None, path: Path | None = None) -> None:
        progress = Progress(self.state.step, self.total_steps, self.folder.path, values or {}, path)
        self.observer.notify(event, progress)
