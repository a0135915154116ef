"""The training loop: from the step of its state to the last, with all work that is due on the way."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from dit_run.assembly.layout import Layout
from dit_run.compute.distributed import Processes
from dit_run.compute.memory_meter import MemoryMeter
from dit_run.model.denoiser import Denoiser
from dit_run.reporting import Reporter
from dit_run.runs.checkpoint.commit import SaveFailed
from dit_run.system.durable import DiskFailed
from dit_run.system.signals import Interrupted
from dit_run.training.compile import run_eagerly
from dit_run.training.evaluation_tasks import EvaluationParts
from dit_run.training.nonfinite import NonFiniteLoss
from dit_run.training.polling import polled
from dit_run.training.saving import Saver
from dit_run.training.schedule import Schedule
from dit_run.training.setup import StopSwitch
from dit_run.training.shared_tasks import SharedTasks
from dit_run.training.state import TrainState
from dit_run.training.step import EncodedBatch, StepResult, TrainingStep
from dit_run.training.step_timer import StepTimer
from dit_run.training.throughput import Throughput
from dit_run.training.watching import Watching
from dit_run.training.whole_copies import WholeCopies

__all__ = ["Loop"]

_CONTINUE, _SAVE, _STOP = range(3)
"""Requests of a process after a step; all processes follow the largest."""
_SHARED_WAIT = 3.0
"""Time after a signal that one of several processes waits for data (seconds), because a stop is decided together."""


@dataclass
class Loop:
    """A run in this process."""

    state: TrainState
    step: TrainingStep
    layout: Layout
    schedule: Schedule
    processes: Processes
    reporter: Reporter
    watching: Watching
    saver: Saver
    timer: StepTimer
    stop: StopSwitch
    """Asked in every process after a step, and in the first one while it watches."""
    memory: MemoryMeter
    throughput: Throughput
    shared: SharedTasks[EvaluationParts]
    """Evaluation that all processes share."""
    whole: WholeCopies | None = None
    """Copies to watch in place of sharded weights; then all processes save together, and none alone."""
    saved_step: int = 0
    """The step of the last checkpoint; 0 for none."""
    _counted_from: tuple[int, float] = (0, 0.0)
    """Step and time from which on images per second are counted."""

    @property
    def total_steps(self) -> int:
        return self.schedule.run_length.total_steps

    def run(self, batches: Iterator[EncodedBatch]) -> bool:
        """Train to the end and return True; if stopped before, save and return False.

        Raises Interrupted, after saving, where the stop was not decided by all processes together. After any other
        exception the state of the last step is saved where it is whole.
        """
        self._counted_from = (self.state.step, time.monotonic())
        self.reporter.begin(self.state.step, self.total_steps)
        try:
            finished = self._run(batches)
        except Interrupted:
            self._save(last=True)
            raise
        except BaseException as error:
            self._rescue(error)
            raise
        finally:
            self.reporter.end()
        if finished:
            self.watching.notify("on_train_end")
        return finished

    def _run(self, batches: Iterator[EncodedBatch]) -> bool:
        self.watching.notify("on_train_start")
        if self.processes.any(self._outstanding):
            with self._evaluation("start"):
                self._watch(self._logged_values(self.state.meters.again) if self._outstanding else {})
        if self.processes.any(self._outstanding):
            return False  # interrupted again; the checkpoint of this step is there
        while self.state.step < self.total_steps:
            self._do_due_work(self._advance(batches))
            if self._stops():
                self._save(last=True)
                return False
        return True

    def _stops(self) -> bool:
        """Return True where a process stops; save where one asks for that alone."""
        wanted = self.processes.largest(self._request())
        if wanted == _SAVE:
            self._save()
        return wanted == _STOP

    def _request(self) -> int:
        if self._outstanding or (self.stop.requested() and self.state.step < self.total_steps):
            return _STOP  # work is outstanding after a stop of this process or of one that helped it
        return _SAVE if self.stop.take_save_request() else _CONTINUE

    def _advance(self, batches: Iterator[EncodedBatch]) -> StepResult:
        state, accumulation = self.state, self.layout.accumulation
        with self._interrupted_loading():
            micro_batches = list(islice(batches, accumulation)) if accumulation > 1 else [next(batches)]
        with self._given_up_if_saved():
            first, stride = self.layout.first_micro_batch, self.layout.stride
            result = self.step.run(state.step, micro_batches, count=accumulation, first_index=first, stride=stride)
        state.nonfinite.add(state.step + 1, result, micro_batches)
        if state.averages:
            # After a skipped update, too: the weights have not changed, and asking would wait for the device.
            with self.timer.phase("optimizer"), state.evaluation.shown():
                for average in state.averages.values():
                    average.update(state.step)
        state.step += 1
        self.step.updating = False
        state.meters.add(result)
        self.throughput.add(micro_batches)
        self.timer.step(state.step)
        return result

    def _interrupted_loading(self) -> contextlib.AbstractContextManager[None]:
        """Return a context for loading, which a stop ends, except where no process could save alone afterwards."""
        if self.whole is not None:
            return contextlib.nullcontext()
        return self.stop.interrupting(after=0.0 if self.processes.count == 1 else _SHARED_WAIT)

    def _given_up_if_saved(self) -> contextlib.AbstractContextManager[None]:
        """Return a context for a step that a stop gives up, where a checkpoint has all before it and no process waits.

        The first step may take minutes, in which blocks are compiled.
        """
        alone = self.processes.count == 1 and self.saved_step == self.state.step
        return self.stop.interrupting() if alone else contextlib.nullcontext()

    def _do_due_work(self, result: StepResult) -> None:
        """Do all work that is due after a step: first save, so that nothing else can lose the step."""
        step = self.state.step
        self._settle()
        self.reporter.step(step, result.loss.item() if result.loss.device.type == "cpu" else None)
        values = self._read_meters() if self.schedule.logs(step) else {}
        if self.schedule.saves(step):
            self._save(last=step == self.total_steps)
        if not self.schedule.watches(step):
            with self._uncounted():
                self._watch(values)
            return
        with self._evaluation(f"step-{step}"):
            self._watch(values)

    def _read_meters(self) -> dict[str, float]:
        step, since = self._counted_from
        now = time.monotonic()
        self._counted_from = (self.state.step, now)
        if self.state.scaler.is_enabled():
            self.state.nonfinite.check_scale(self.state.step, self.state.scaler.get_scale())
        return {
            **self._logged_values(self.state.meters.read),
            "memory_gb": self.memory.peak / 1e9,
            "images_per_second": (self.state.step - step) * self.layout.global_batch / max(now - since, 1e-9),
            **self.throughput.read(now - since),
            **self.timer.read(now - since),
        }

    def _logged_values(self, read: Callable[[], Mapping[str, float]]) -> dict[str, float]:
        """Return the values that are logged after the last step, apart from times; empty where none are due."""
        step, length = self.state.step, self.schedule.run_length
        if not self.schedule.logs(step):
            return {}
        return {
            "epoch": step * length.global_batch / length.size,
            **read(),
            "learning_rate": self.step.learning_rate(step - 1),
        }

    # -------------------------------------------------------------------------------------------- watching and saving

    @property
    def _outstanding(self) -> bool:
        return self.processes.first and self.watching.outstanding

    @contextlib.contextmanager
    def _evaluation(self, name: str) -> Iterator[None]:
        """Let the first process watch in the block, with the help of the others; all processes call this."""
        with self._uncounted(), self._shown(), self.shared.led(name, self._helping):
            yield

    @contextlib.contextmanager
    def _shown(self) -> Iterator[None]:
        """Let all processes have whole copies of sharded weights, those to evaluate."""
        if self.whole is None:
            yield
            return
        with self.state.evaluation.shown(), self.whole.filled():
            yield

    @contextlib.contextmanager
    def _helping(self) -> Iterator[None]:
        """Let this process evaluate as the first one does; a stop ends that at once."""
        evaluated = polled(self._evaluated, self.shared.poll)
        with self.state.evaluation.shown(), run_eagerly(), evaluated, self.stop.interrupting():
            yield

    @property
    def _evaluated(self) -> Iterable[Denoiser]:
        return self.state.denoisers if self.whole is None else self.whole.copies.values()

    def _watch(self, values: Mapping[str, float]) -> None:
        """Do the due work that only watches, in the first process; a stop leaves the rest of it to the next start."""
        if not self._outstanding:
            return
        with contextlib.suppress(Interrupted), run_eagerly(), polled(self._evaluated, self._poll):
            self.watching.run(values)
            if self.saved_step == self.state.step:
                self.watching.commit()

    def _poll(self) -> None:
        """Answer requests before each call of the model while the run is watched."""
        self.processes.show_progress()
        self.processes.require_all()
        if self.whole is None and self.stop.take_save_request():
            with self.stop.uninterrupted():
                self._save()
        self.stop.check()

    @contextlib.contextmanager
    def _uncounted(self) -> Iterator[None]:
        """Leave the time of this work out of images per second and of a profile."""
        began = time.monotonic()
        try:
            yield
        finally:
            step, since = self._counted_from
            self._counted_from = (step, since + time.monotonic() - began)

    def _save(self, *, last: bool = False) -> None:
        """Save the state of the last step, or begin to, unless it is saved; the ``last`` time it is saved on return."""
        with self._uncounted():
            self._settle(wait=True)
            if self.saved_step == self.state.step:
                return
            self.state.nonfinite.settle()
            self.watching.observer.flush()
            self.saver.begin(self.state, last=last)
            self._settle(wait=last)

    def _settle(self, *, wait: bool = False) -> None:
        """Announce the checkpoint that was completed since the last call, if any."""
        saved = self.saver.settle(wait=wait)
        if saved is None:
            return
        self.saved_step = saved.step
        if self.processes.first:
            self.reporter.saved(saved.path)
            self.watching.notify("on_checkpoint_saved", path=saved.path, step=saved.step)
            if self.watching.record.watched >= saved.step:
                self.watching.commit()

    def _rescue(self, error: BaseException) -> None:
        """Save the state of the last step after an exception, where it is whole and finite; hide no error."""
        lost = self.step.updating or isinstance(error, NonFiniteLoss | DiskFailed | SaveFailed)
        alone = self.processes.first and self.whole is None
        try:
            self._settle(wait=True)
            if alone and not lost and self.state.is_finite():
                self._save(last=True)
        except Exception as failure:  # noqa: BLE001 (the first error is raised)
            self.reporter.notice(f"the state after step {self.state.step} was not saved: {failure}")
