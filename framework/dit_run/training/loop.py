"""The loop: from the step it stands at to the last, with everything that is due on the way."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from dit_run.assembly.layout import Layout
from dit_run.compute.distributed import Processes
from dit_run.model.denoiser import Denoiser
from dit_run.protocols import Progress
from dit_run.reporting import Reporter
from dit_run.training.compile import as_written
from dit_run.training.ema import Ema
from dit_run.training.meters import Meters
from dit_run.training.nonfinite import NonFiniteGuard
from dit_run.training.observer import Observer
from dit_run.training.schedule import Schedule
from dit_run.training.step import EncodedBatch, StepResult, TrainingStep
from dit_run.training.step_timer import Clock

__all__ = ["Loop"]


@dataclass
class Loop:
    """One run in one process. ``done`` counts optimizer steps; everything else about a run follows from it."""

    step: TrainingStep
    denoiser: Denoiser
    ema: Ema[Denoiser] | None
    layout: Layout
    schedule: Schedule
    meters: Meters
    processes: Processes
    reporter: Reporter
    watch: Observer
    record: Callable[[dict[str, Any]], None]
    """Appends an object to the run's metrics."""
    save: Callable[[Loop], Path | None]
    stopped: Callable[[], bool]
    """Whether any process was asked to stop; called once a step in all of them."""
    run_dir: Path
    nonfinite: NonFiniteGuard
    clock: Clock
    done: int = 0
    stopping: bool = False
    """A process was asked to stop: what is saved now is the last."""
    latest: dict[str, float] = field(default_factory=dict)
    """The last value of everything that was logged by this process."""
    picture: Path | None = None
    """The last grid."""
    best: dict[str, Any] = field(default_factory=dict)
    """The lowest validation loss of the steps that are saved, and its step."""
    _since: tuple[int, float] = (0, 0.0)

    @property
    def total_steps(self) -> int:
        return self.schedule.run_length.total_steps

    def run(self, examples: Iterator[EncodedBatch]) -> bool:
        """Train to the end, or until asked to stop: then what was done is saved, and the answer is False."""
        self._since = (self.done, time.monotonic())
        self.reporter.begin(self.done, self.total_steps)
        self._tell("on_train_start")
        try:
            while self.done < self.total_steps:
                outcome = self._advance(examples)
                saved = self._follow(outcome)
                self.stopping = self.done < self.total_steps and self.stopped()
                if self.stopping:
                    if not saved:
                        self._save()
                    return False
        finally:
            self.reporter.end()
        self._tell("on_train_end")
        return True

    def _advance(self, examples: Iterator[EncodedBatch]) -> StepResult:
        accumulation = self.layout.accumulation
        micro_batches = list(islice(examples, accumulation)) if accumulation > 1 else [next(examples)]
        outcome = self.step.run(self.done, micro_batches, count=accumulation, first_index=self.layout.first_micro_batch)
        self.nonfinite.add(self.done + 1, outcome, micro_batches)
        if self.ema is not None:
            # After a skipped update, too: the weights are what they were, and nobody waits to learn of it.
            with self.clock.phase("optimizer"):
                self.ema.update(self.done)
        self.done += 1
        self.meters.add(outcome)
        self.clock.step(self.done)
        return outcome

    def _follow(self, outcome: StepResult) -> bool:
        """All that is due after a step. Returns whether a checkpoint was saved by this process."""
        loss = outcome.loss.item() if outcome.loss.device.type == "cpu" else None
        self.reporter.step(self.done, loss)
        values = self._logged() if self.schedule.logs(self.done) else {}
        if self.processes.first:
            values |= self._watched()
        self._publish(values)
        self._tell("on_step_end", values)
        return self._save() if self.schedule.saves(self.done) else False

    def _logged(self) -> dict[str, float]:
        step, since = self._since
        now = time.monotonic()
        rate = (self.done - step) * self.layout.global_batch / max(now - since, 1e-9)
        self._since = (self.done, now)
        plan = self.schedule.run_length
        return {
            "epoch": self.done * plan.global_batch / plan.size,
            **self.meters.read(),
            "learning_rate": self.step.learning_rate(self.done - 1),
            "images_per_second": rate,
            **self.clock.read(now - since),
        }

    def _watched(self) -> dict[str, float]:
        """Validation, pictures and scores that are due."""
        values: dict[str, float] = {}
        with self._uncounted(), as_written():
            if self.schedule.validates(self.done):
                values |= self.watch.validate()
                self._note_best(values)
            if self.schedule.draws(self.done):
                self.picture = self.watch.draw(self.done)
                self.reporter.saved(self.picture)
                self._tell("on_sample", path=self.picture)
            if self.schedule.scores(self.done):
                values |= self.watch.score(self.done)
        return values

    @contextlib.contextmanager
    def _uncounted(self) -> Iterator[None]:
        """What is done within counts neither for the rate nor for a profile."""
        began = time.monotonic()
        yield
        self._since = (self._since[0], self._since[1] + time.monotonic() - began)

    def _note_best(self, values: dict[str, float]) -> None:
        if not self.schedule.saves(self.done):
            return
        name = "validation/loss_ema" if self.ema is not None else "validation/loss"
        if name in values and values[name] < self.best.get("loss", float("inf")):
            self.best = {"loss": values[name], "step": self.done}

    def _publish(self, values: dict[str, float]) -> None:
        if not values or not self.processes.first:
            return
        self.latest |= values
        self.record({"step": self.done, **values, "time": time.time()})
        self.watch.log(self.done, values)
        self.reporter.logged(self.done, values)

    def _save(self) -> bool:
        self.nonfinite.settle()
        with self._uncounted():
            self.watch.flush()
            path = self.save(self)
            if path is not None:
                self.reporter.saved(path)
                self._tell("on_checkpoint_saved", path=path)
        return path is not None

    def _tell(self, event: str, values: dict[str, float] | None = None, path: Path | None = None) -> None:
        self.watch.tell(event, Progress(self.done, self.total_steps, self.run_dir, values or {}, path))
