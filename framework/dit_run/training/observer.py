"""The observer of a run: validation, samples, scores, trackers and callbacks, in the first process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import isfinite
from pathlib import Path

from PIL import Image

from dit_run.config.dump import run_config
from dit_run.protocols import Callback, LoggedStep, Metric, Progress, RunEnd, Tracker
from dit_run.registry.factories import make
from dit_run.reporting import Reporter
from dit_run.runs.run_folder import RunFolder
from dit_run.sampling.image_files import save_png
from dit_run.sampling.image_grid import grid
from dit_run.sampling.sampling_request import SamplingRequest
from dit_run.sampling.trained_sizes import default_size
from dit_run.training.evaluation_tasks import EvaluationParts, ImageTask, LossTask
from dit_run.training.retry_queue import RetryQueue
from dit_run.training.run_parts import RunParts
from dit_run.training.scoring import build_metrics, memory_advice, preview_prompts, score, scoring_notices
from dit_run.training.shared_tasks import SharedTasks
from dit_run.training.validation import ValidationLoss
from dit_run.training.watch_guard import WatchGuard

__all__ = ["Observer"]


@dataclass
class Observer:
    """Reads a run, changes nothing of it, and notifies trackers and callbacks. Opened in the first process only."""

    parts: RunParts
    folder: RunFolder
    reporter: Reporter
    guard: WatchGuard
    shared: SharedTasks[EvaluationParts]
    """Computes losses and images, with the other processes."""
    trackers: list[tuple[str, Tracker, RetryQueue]] = field(default_factory=list)
    metrics: list[tuple[str, Metric]] = field(default_factory=list)
    callbacks: list[tuple[str, Callback]] = field(default_factory=list)
    _sheet: Image.Image | None = None
    """The last grid, until the trackers have it."""

    def open(self, start_step: int) -> list[str]:
        """Build metrics, trackers and callbacks. Returns the commands that show the trackers' output."""
        config, run_dir, history = self.parts.config, self.folder.path, partial(self._history, start_step)
        self.metrics = build_metrics(config, self.parts.data)
        for notice in scoring_notices(self.metrics, config, self.parts.data):
            self.reporter.notice(notice)
        for choice in config.trackers:
            given = {"run_dir": run_dir, "start_step": start_step, "config": config, "history": history}
            tracker = make(choice.component, choice.options, **given)
            queue = RetryQueue(f"the {choice.type} tracker's output", self.reporter.notice)
            self.trackers.append((f"tracker {choice.type}", tracker, queue))
        for choice in config.callbacks:
            callback = make(choice.component, choice.options, run_dir=run_dir)
            self.callbacks.append((f"callback {choice.type}", callback))
        if start_step == 0 and self.trackers:
            config_text = run_config(config)
            self._tell(lambda tracker: tracker.text(0, "config", config_text))
        return [tracker.command for _, tracker, _ in self.trackers if tracker.command]

    def _history(self, last: int) -> Iterator[LoggedStep]:
        """Yield what was logged up to a step, from the files of the run folder."""
        for line in self.folder.metrics.read():
            step, when = line.pop("step"), line.pop("time")
            path = self.samples_path(step)
            if step <= last:
                yield LoggedStep(step, when, line, path if path.exists() else None)

    def close(self, end: RunEnd, values: Mapping[str, float]) -> None:
        """Write the grids that still wait, and give the end of the run with its last values to the trackers."""
        if not self._images.settle(at_once=True):
            self.reporter.notice(
                "the last samples are not written; dit-run sample makes images of the checkpoints in the run folder"
            )
        for name, tracker, queue in self.trackers:
            for last in (partial(_end, tracker, end, values), tracker.close):
                with self.guard.closing(name):
                    queue.do(last)
            with self.guard.closing(name):
                if not queue.settle(at_once=True):
                    self.reporter.notice(f"{queue.name} lacks what was logged last; metrics.jsonl and samples/ have it")

    def flush(self) -> None:
        """Write all that was logged to the disk, except for values that a tracker cannot write now."""
        self._images.settle()
        self._tell(lambda tracker: tracker.flush())

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Give the values of a step to the trackers."""
        self._tell(lambda tracker: tracker.log(step, values))

    def log_samples(self, step: int) -> None:
        """Give the grid of a step to the trackers: the sampled one, or that of an earlier process from its file."""
        sheet, self._sheet = self._sheet, None  # a file may still wait for a disk that fails
        path = self.samples_path(step)
        if sheet is None and self.trackers and path.exists():
            with Image.open(path) as file:
                sheet = file.convert("RGB")  # with its info
        if sheet is not None:
            self._tell(lambda tracker: tracker.image(step, "samples", sheet))

    def _tell(self, what: Callable[[Tracker], object]) -> None:
        for name, tracker, queue in self.trackers:
            with self.guard.short(name):
                queue.do(partial(what, tracker))

    def notify(self, event: str, progress: Progress) -> None:
        """Call the method of this name of every callback that has it."""
        for name, callback in self.callbacks:
            method = getattr(callback, event, None)
            if method is not None:
                with self.guard.short(f"{name}, {event},"):
                    method(progress)

    @cached_property
    def _images(self) -> RetryQueue:
        return RetryQueue("the samples", self.reporter.notice)

    def validate(self) -> dict[str, float]:
        """Return ``validation/loss`` of held-out, ``probe/loss`` of training samples; ``_ema`` is the first average."""
        parts = self.parts
        values: dict[str, float] = {}
        for name, held_out in (("validation", True), ("probe", False)):
            if held_out and parts.data.validation is None:
                continue
            for suffix, loss in self._losses(LossTask(held_out)).items():
                values[f"{name}/loss{suffix}"] = loss.mean
                if isfinite(loss.standard_error):
                    values[f"{name}/standard_error{suffix}"] = loss.standard_error
                values |= {f"{name}/loss{suffix}_part_{index}": mean for index, mean in enumerate(loss.bins)}
                values |= {f"{name}/loss{suffix}/{part}": mean for part, mean in loss.parts.items()}
        return values

    def _losses(self, task: LossTask) -> dict[str, ValidationLoss]:
        return task.validation_set(self.shared.parts).mean(self.shared.results(task))

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """Prompts of the previews."""
        return preview_prompts(self.parts.config, self.parts.data)

    def samples_path(self, step: int) -> Path:
        """Return the path of the grid of a step."""
        return self.folder.samples / f"step-{step:08d}.png"

    def sample(self, step: int) -> None:
        """Sample a grid of the preview prompts as ``samples/step-00000100.png``."""
        config = self.parts.config
        size = default_size(config, self.parts.pipeline.size_unit)
        request = SamplingRequest.of(config.sampling, self.prompts, size=size)
        advice = "lower sampling.num_images, or set vae.use_slicing if the VAE has it"
        images = self._sampled(request, "sampling previews", advice)
        self._sheet = sheet = grid(images, self.prompts)
        metadata = {"prompts": "\n".join(self.prompts), "prompt_list": json.dumps(self.prompts), "step": str(step)}
        sheet.info.update(metadata)
        self._images.do(partial(_save_image, self.samples_path(step), sheet, metadata))

    def score(self, index: int) -> dict[str, float]:
        """Return the scores of one of the config's metrics on samples of its prompts."""
        metric = self.metrics[index]

        def sample(request: SamplingRequest, name: str) -> list[Image.Image]:
            return self._sampled(request, *memory_advice(*metric), phase=f"sampling for {name}")

        return score([metric], self.parts.config, self.parts.data, sample, self.shared.processes.at_work)

    def _sampled(self, request: SamplingRequest, work: str, remedy: str, phase: str = "") -> list[Image.Image]:
        """Return the images of a request in order, and report each as progress of ``phase``, if it has a name."""
        done, count = 0, len(request.prompts)

        def arrived(images: Sequence[Image.Image]) -> None:
            nonlocal done
            done += len(images)
            self.reporter.phase(phase, done, count)

        if phase:
            self.reporter.phase(phase, 0, count)
        guided = self.parts.pipeline.guidance is not None
        batches = self.shared.results(ImageTask(request, work, remedy, guided), arrived if phase else None)
        return [image for batch in batches for image in batch]


def _end(tracker: Tracker, end: RunEnd, values: Mapping[str, float]) -> None:
    method = getattr(tracker, "end", None)
    if method is not None:
        method(end, values)


def _save_image(path: Path, sheet: Image.Image, metadata: Mapping[str, str]) -> None:
    path.parent.mkdir(exist_ok=True)
    save_png(path, sheet, metadata)
