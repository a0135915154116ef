"""A short probe of a run: its own parts, at small batch sizes and for a few steps, with a watch and a scale."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Literal

import torch

from dit_run.assembly.parts import Encoders, build_denoiser, build_scheduler
from dit_run.assembly.prepare import Data, prepare
from dit_run.compute.devices import keep_freed_memory
from dit_run.compute.distributed import Processes
from dit_run.compute.memory_meter import MemoryMeter
from dit_run.compute.out_of_memory import OutOfMemory, translate_out_of_memory, translate_working
from dit_run.compute.timing import seconds_of, synchronise
from dit_run.model.denoiser import Denoiser, trainable_parameters
from dit_run.planning.fake_cache import try_encoding
from dit_run.planning.forecast import Measured, Pictures, Workload
from dit_run.planning.save_timing import saving_seconds
from dit_run.planning.workload import workload_of
from dit_run.reporting import Reporter
from dit_run.runs.checkpoint.store import CheckpointContents, needed_bytes
from dit_run.sampling.pipeline import Pipeline, Request
from dit_run.settings import Config
from dit_run.training.batches import Visits
from dit_run.training.ema import Ema
from dit_run.training.encoding import BatchEncoder
from dit_run.training.gradients import distribute
from dit_run.training.scoring import preview_prompts
from dit_run.training.step import TrainingStep, denoising_loss
from dit_run.training.step_builder import build_ema, build_step
from dit_run.training.step_timer import Phase, Untimed

__all__ = ["Probed", "probe"]

SECONDS = 30.0
"""About how long batch sizes are tried out; larger ones are worked out from those."""
WARM_UP, TRIES, MOST_TRIES, LONG_ENOUGH = 2, 2, 10, 1.0
"""Steps of a batch size that warm up, of which the second still gets some of its memory from the system, and whose peak
of memory counts; then those whose time counts, more while together they take less than so many seconds."""
DRAWING_SECONDS = 10.0
"""About how long drawing is tried out."""
FEW_STEPS, MORE_STEPS = 2, 4
"""Sampling steps of the tries."""


@dataclass(frozen=True)
class Probed:
    """What a probe found, and what is asked for."""

    measured: Measured
    load: Workload
    memory: int
    """Bytes that there are."""
    device: torch.device
    samples: int
    """In training."""


def probe(config: Config, *, device: torch.device, reporter: Reporter) -> Probed:
    """Build a run and try it out. Leaves nothing behind but what loading weights keeps. Raises InputError as the run
    would, OutOfMemory where not even one sample or picture fits."""
    if config.training.num_threads is not None:
        torch.set_num_threads(config.training.num_threads)
    keep_freed_memory(device)
    effective = config.training.batch_size * config.training.gradient_accumulation_steps
    config, data, encoders = prepare(config, global_batch=effective, device=device)
    meter = MemoryMeter(device)
    kept_encoders, cache, encoding = try_encoding(config, data, encoders, meter)
    bench, load = _Bench.of(config, data, kept_encoders, device, meter), workload_of(config, data)
    reporter.phase("trying batch sizes", 0, 1)
    peaks, passes = bench.ladder()
    reporter.phase("trying batch sizes", 1, 1)
    measured = Measured(
        parameters=sum(parameter.numel() for _, parameter in trainable_parameters(bench.denoiser)),
        peaks=peaks,
        passes=passes,
        update=bench.watch.typical("optimizer") + bench.watch.typical("average"),
        data=bench.data_seconds(),
        forward=bench.forward_seconds(),
        pictures=bench.pictures(max(load.drawn_at_a_time.values(), default=1)),
        encoding=encoding,
        checkpoint=needed_bytes(bench.contents()),
        saving=saving_seconds(bench.contents(), Path(config.training.output_dir)),
        cache=cache,
        gradients=bench.gradient_bytes(),
    )
    return Probed(measured, load, meter.total, device, len(data.train))


# ------------------------------------------------------------------------------------------------------------- training


_Part = Phase | Literal["average"]


class _Watch(Untimed):
    """Takes the time of a step's phases, and of the average after it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._taken: dict[_Part, list[float]] = {}

    @contextlib.contextmanager
    def phase(self, name: _Part) -> Iterator[None]:
        synchronise(self._device)
        began = time.perf_counter()
        yield
        synchronise(self._device)
        self._taken.setdefault(name, []).append(time.perf_counter() - began)

    def typical(self, name: _Part, last: int = 0) -> float:
        """The median of the seconds, of the last ones where a number is given; 0 for what is never done."""
        return median(self._taken.get(name, [0.0])[-last:])


@dataclass
class _Bench:
    """A run's parts, ready for steps of any batch size."""

    config: Config
    data: Data
    encoders: Encoders
    device: torch.device
    meter: MemoryMeter
    denoiser: Denoiser
    ema: Ema[Denoiser] | None
    step: TrainingStep
    watch: _Watch
    done: int = 0
    visits: Visits = field(init=False)
    base: int = 0
    """Bytes that are held beside a try's own."""
    largest: int = 1
    """The largest batch size that was tried."""

    def __post_init__(self) -> None:
        training, size = self.config.training, self.config.data.common.image_size
        shape = self.encoders.latent_shape(size, size)
        latents = self.encoders.cached.latents
        self.visits = Visits(self.data.train, training.seed, shape, training.caption_dropout, latents)

    @classmethod
    def of(cls, config: Config, data: Data, encoders: Encoders, device: torch.device, meter: MemoryMeter) -> _Bench:
        denoiser = build_denoiser(config, encoders, device).train()
        _wake(denoiser)
        training, watch, scheduler = config.training, _Watch(device), build_scheduler(config, encoders)
        forward, gradients = distribute(
            denoiser,
            Processes(device=device),
            exact=training.elastic_exact,
            accumulation=training.gradient_accumulation_steps,
        )
        step = build_step(
            config,
            denoiser,
            scheduler,
            device,
            learning_rate_factor=lambda step: 0.0,
            forward=forward,
            gradients=gradients,
            clock=watch,
        )
        return cls(config, data, encoders, device, meter, denoiser, build_ema(config, denoiser), step, watch)

    def ladder(self) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
        """Peak memory and seconds of forward and backward at rising batch sizes, as far as time and memory go."""
        effective = self.config.training.batch_size * self.config.training.gradient_accumulation_steps
        peaks: list[tuple[int, float]] = []
        passes: list[tuple[int, float]] = []
        with translate_out_of_memory(1, 1):
            self._advance(1)
        self.meter.reset()
        self.base = self.meter.now
        began = time.perf_counter()
        for size in _sizes(self.config.training.batch_size, effective):
            if peaks and self._too_much(size, peaks, time.perf_counter() - began, passes[-1]):
                break
            try:
                with translate_out_of_memory(size, 1):
                    peak, seconds = self._try(size)
            except OutOfMemory:
                if not peaks:
                    raise
                break
            peaks.append((size, peak))
            passes.append((size, seconds))
            self.largest = size
        return peaks, passes

    def _too_much(self, size: int, peaks: Sequence[tuple[int, float]], spent: float, last: tuple[int, float]) -> bool:
        """Whether trying this size would take too long, or more memory than is safe."""
        smaller, seconds = last
        seconds *= self._micro_batches(size)
        grown = peaks[-1][1] + (peaks[-1][1] - peaks[0][1]) * size / smaller
        return spent + (WARM_UP + TRIES) * seconds * size / smaller > SECONDS or grown > 0.8 * self.meter.total

    def _try(self, size: int) -> tuple[float, float]:
        """Peak memory and seconds of steps with so many samples."""
        left = self._left()
        for _ in range(WARM_UP):
            self._advance(size)
        peak = float(self.meter.peak - left)
        began, tries = time.perf_counter(), 0
        while tries < TRIES or (tries < MOST_TRIES and time.perf_counter() - began < LONG_ENOUGH):
            self._advance(size)
            tries += 1
        warm = tries * self._micro_batches(size)
        return peak, self.watch.typical("forward", warm) + self.watch.typical("backward", warm)

    def _left(self) -> int:
        """Begins to look for a try's peak. Returns the bytes that earlier tries left behind, which a run does not have:
        kernels made for their shapes."""
        self.meter.reset()
        return max(0, self.meter.now - self.base)

    def _micro_batches(self, size: int) -> int:
        """Of a step that is tried: two where this size is one of several that make up the effective batch, as the first
        one's gradients are there while the second works."""
        return 2 if size < self.config.training.batch_size * self.config.training.gradient_accumulation_steps else 1

    def _advance(self, size: int) -> None:
        positions = range(self.done * size, (self.done + 1) * size)
        encode, count = BatchEncoder(self.encoders, self.device), self._micro_batches(size)
        self.step.run(self.done, (encode(self.visits.__getitems__(positions)) for _ in range(count)), count=count)
        if self.ema is not None:
            with self.watch.phase("average"):
                self.ema.update(self.done)
        self.done += 1

    def data_seconds(self) -> float:
        """Of a sample, read and, where its encoders work in every step, encoded."""
        size = min(self.config.training.batch_size, 16, self.largest)
        encode = BatchEncoder(self.encoders, self.device)
        return median(seconds_of(lambda: encode(self.visits.__getitems__(range(size))), self.device)) / size

    @torch.no_grad()
    def forward_seconds(self) -> float:
        """Of a sample without gradients."""
        size = min(self.config.training.batch_size, self.config.validation.num_samples, self.largest)
        examples = BatchEncoder(self.encoders, self.device)(self.visits.__getitems__(range(size)))
        scheduler = self.step.scheduler
        return (
            median(
                seconds_of(lambda: denoising_loss(self.denoiser, scheduler, examples, self.step.precision), self.device)
            )
            / size
        )

    def contents(self) -> CheckpointContents:
        """What a checkpoint holds, but for some small values."""
        ema = None if self.ema is None else self.ema.module.tensors()
        return CheckpointContents(self.denoiser.tensors(), self.step.optimizer.state_dict(), {}, {}, ema)

    def gradient_bytes(self) -> float:
        """Of a leaf of the tree of gradients, where there is one."""
        trained = (parameter for _, parameter in trainable_parameters(self.denoiser))
        size = sum(parameter.numel() * parameter.element_size() for parameter in trained)
        return float(size) if self.config.training.elastic_exact else 0.0

    # ------------------------------------------------------------------------------------------------------ drawing

    def pictures(self, most: int) -> Pictures:
        """Drawn twice as many at a time as before, up to ``most``, as far as time and memory go: few take longer
        each."""
        peaks: list[tuple[int, float]] = []
        failed = 0
        began, last = time.perf_counter(), 0.0
        for count in (*(2**power for power in range(most.bit_length()) if 2**power < most), most):
            if peaks and time.perf_counter() - began + 2 * last > DRAWING_SECONDS:
                break
            left, begun = self._left(), time.perf_counter()
            try:
                with translate_working("drawing one picture", "take a smaller model or data.image_size"):
                    self._draw(count, FEW_STEPS)
            except OutOfMemory:
                if not peaks:
                    raise
                failed = count
                break
            peaks.append((count, float(self.meter.peak - left)))
            last = time.perf_counter() - begun
        count = peaks[-1][0]
        short, long = (
            median(seconds_of(partial(self._draw, count, steps), self.device)) for steps in (FEW_STEPS, MORE_STEPS)
        )
        evaluation = max(0.0, (long - short) / ((MORE_STEPS - FEW_STEPS) * count))
        return Pictures(peaks, evaluation, max(0.0, short / count - FEW_STEPS * evaluation), failed)

    def _draw(self, count: int, steps: int) -> None:
        size = self.config.data.common.image_size
        prompts = (preview_prompts(self.config, self.data) * count)[:count]
        request = Request.of(self.config.sampling, prompts, image_size=size, batch_size=count)
        pipeline = Pipeline(
            denoiser=self.ema.module if self.ema is not None else self.denoiser,
            conditions=self.encoders.conditions,
            vae=self.encoders.vae,
            scheduler=self.step.scheduler,
            patch_size=self.denoiser.model.patch_size,  # type: ignore[arg-type]
            device=self.device,
            precision=self.step.precision,
        )
        for _ in pipeline.images(replace(request, steps=steps)):
            pass


@torch.no_grad()
def _wake(denoiser: Denoiser) -> None:
    """Small weights in place of zeros: a model whose output begins at zero passes gradients of zeros on, and products
    with those are quicker."""
    for parameter in denoiser.parameters():
        if not parameter.any():
            parameter.normal_(std=0.01)


def _sizes(batch_size: int, effective: int) -> list[int]:
    """The powers of two below the batch size, the size itself, and twice it where splits may be that large."""
    powers = [2**power for power in range(effective.bit_length()) if 2**power < batch_size]
    return [*powers, batch_size, *[size for size in (2 * batch_size,) if size <= effective]]
