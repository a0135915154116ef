"""Watching a run: validation, pictures, scores, trackers and callbacks, in its first process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from math import isfinite
from pathlib import Path

import torch
from PIL import Image

from dit_run.assembly.parts import Encoders
from dit_run.assembly.prepare import Data
from dit_run.compute.out_of_memory import translate_working
from dit_run.compute.precision import Precision
from dit_run.data.samples import Samples
from dit_run.model.denoiser import Denoiser
from dit_run.protocols import Callback, Metric, Progress, Scheduler, Tracker
from dit_run.registry.factories import make
from dit_run.reporting import Reporter
from dit_run.runs.run_folder import RunFolder
from dit_run.sampling.image_files import grid, save_png
from dit_run.sampling.pipeline import Pipeline, SamplingRequest
from dit_run.settings import Config
from dit_run.training.batches import Visits
from dit_run.training.ema import Ema
from dit_run.training.encoding import BatchEncoder
from dit_run.training.retry_queue import RetryQueue
from dit_run.training.scoring import build_metrics, preview_prompts, score
from dit_run.training.validation import Probe

__all__ = [
    "Observer",
]


@dataclass
class Observer:
    """Reads a run, changes nothing of it, and tells trackers and callbacks. Opened in the first process only."""

    config: Config
    data: Data
    encoders: Encoders
    denoiser: Denoiser
    ema: Ema[Denoiser] | None
    scheduler: Scheduler
    precision: Precision
    device: torch.device
    folder: RunFolder
    reporter: Reporter
    trackers: list[tuple[Tracker, RetryQueue]] = field(default_factory=list)
    metrics: list[tuple[str, Metric]] = field(default_factory=list)
    callbacks: list[Callback] = field(default_factory=list)

    def open(self, start_step: int, config_text: str) -> list[str]:
        """Make metrics, trackers and callbacks. Returns the commands that show what trackers write."""
        run_dir = self.folder.path
        self.metrics = build_metrics(self.config, self.data)
        for choice in self.config.trackers:
            tracker = make(choice.component, choice.options, run_dir=run_dir, start_step=start_step)
            self.trackers.append((tracker, RetryQueue(f"the {choice.type} tracker's output", self.reporter.notice)))
        for choice in self.config.callbacks:
            self.callbacks.append(make(choice.component, choice.options, run_dir=run_dir))
        if start_step == 0:
            for tracker, patience in self.trackers:
                patience.do(partial(tracker.text, 0, "config", config_text))
        return [tracker.command for tracker, _ in self.trackers if tracker.command]

    def close(self) -> None:
        """Let the trackers finish."""
        for tracker, patience in self.trackers:
            patience.do(tracker.close)

    def flush(self) -> None:
        """All that was logged is on disk, but for what a tracker cannot write now."""
        self._pictures.settle()
        for tracker, patience in self.trackers:
            patience.do(tracker.flush)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for tracker, patience in self.trackers:
            patience.do(partial(tracker.log, step, values))

    def tell(self, event: str, progress: Progress) -> None:
        """Call the method of this name of every callback that has it."""
        for callback in self.callbacks:
            method = getattr(callback, event, None)
            if method is not None:
                method(progress)

    @cached_property
    def _pictures(self) -> RetryQueue:
        return RetryQueue("the pictures", self.reporter.notice)

    # ------------------------------------------------------------------------------------------------------ validation

    def validate(self) -> dict[str, float]:
        """``validation/loss`` on held-out samples, ``probe/loss`` on training ones; ``_ema`` for averaged weights."""
        denoisers = {"": self.denoiser} | ({"_ema": self.ema.module} if self.ema is not None else {})
        values: dict[str, float] = {}
        for name, samples in (("validation", self.data.validation), ("probe", self.data.train)):
            if samples is None:
                continue
            for suffix, loss in self._probe(samples).measure(denoisers).items():
                values[f"{name}/loss{suffix}"] = loss.mean
                if isfinite(loss.standard_error):
                    values[f"{name}/standard_error{suffix}"] = loss.standard_error
                values |= {f"{name}/loss{suffix}_part_{part}": mean for part, mean in enumerate(loss.parts)}
        return values

    def _probe(self, samples: Samples) -> Probe:
        options = self.config.validation
        size = self.config.data.common.image_size
        still = replace(samples, common=replace(samples.common, random_flip=False, crop="center"))
        shape = self.encoders.latent_shape(size, size)
        return Probe(
            visits=Visits(still, self.config.training.seed, shape, 0.0, self.encoders.cached.latents),
            count=min(len(samples), options.num_samples),
            parts=options.timestep_bins,
            batch_size=self.config.training.batch_size,
            scheduler=self.scheduler,
            encoder=BatchEncoder(self.encoders, self.device),
            precision=self.precision,
        )

    # -------------------------------------------------------------------------------------------------------- pictures

    @property
    def pipeline(self) -> Pipeline:
        """Averaged weights where there are any."""
        denoiser = self.ema.module if self.ema is not None else self.denoiser
        return Pipeline.of(self.config, self.encoders, denoiser, self.scheduler, self.device)

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """What previews show."""
        return preview_prompts(self.config, self.data)

    def draw(self, step: int) -> Path:
        """A grid of the preview prompts as ``samples/step-00000100.png``, given to the trackers."""
        size = self.config.data.common.image_size
        with translate_working(
            "drawing previews", "lower sampling.num_images, or set vae.use_slicing where there is one"
        ):
            images = list(self.pipeline.images(SamplingRequest.of(self.config.sampling, self.prompts, image_size=size)))
        sheet = grid(images, self.prompts)
        path = self.folder.samples / f"step-{step:08d}.png"
        metadata = {"prompts": "\n".join(self.prompts), "step": str(step)}
        self._pictures.do(partial(_save_picture, path, sheet, metadata))
        for tracker, patience in self.trackers:
            patience.do(partial(tracker.image, step, "samples", sheet))
        return path

    def score(self, step: int) -> dict[str, float]:
        """The config's metrics on pictures of their prompts."""
        return score(self.metrics, self.config, self.data, self.pipeline, self.reporter)


def _save_picture(path: Path, sheet: Image.Image, metadata: Mapping[str, str]) -> None:
    path.parent.mkdir(exist_ok=True)
    save_png(path, sheet, metadata)
