"""A trial run: the parts of a run, for single steps of any batch size, with a timer and a memory meter."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

import torch

from dit_run.assembly.layout import Layout
from dit_run.compute.distributed import Processes
from dit_run.compute.memory_meter import MemoryMeter
from dit_run.compute.timing import Clock, seconds_of, synchronise
from dit_run.model.denoiser import Denoiser, trainable_parameters
from dit_run.runs.checkpoint.checkpoint_files import CheckpointContents
from dit_run.training.evaluation_weights import has_modes
from dit_run.training.gradients import distribute
from dit_run.training.run_parts import RunParts
from dit_run.training.state import TRAIN_WEIGHTS
from dit_run.training.step import EncodedBatch, TrainingStep
from dit_run.training.step_loss import denoising_loss
from dit_run.training.step_timer import Phase, StepTimer

__all__ = ["PartTimer", "TrialRun"]

Part = Phase | Literal["average"]


@dataclass
class PartTimer(StepTimer):
    """Measures the phases of steps, and the averages after them."""

    device: torch.device
    clock: Clock
    taken: dict[Part, list[float]] = field(default_factory=dict)
    """Seconds of each part, in order."""

    @contextlib.contextmanager
    def phase(self, name: Part) -> Iterator[None]:
        synchronise(self.device)
        began = self.clock()
        yield
        synchronise(self.device)
        self.taken.setdefault(name, []).append(self.clock() - began)

    def typical(self, name: Part, last: int = 0) -> float:
        """Return the median of the seconds, or of the ``last`` ones; 0 for a part that never ran."""
        return median(self.taken.get(name, [0.0])[-last:])


@dataclass
class TrialRun:
    """The parts of a run. Steps change its weights, which nothing depends on."""

    parts: RunParts
    layout: Layout
    step: TrainingStep
    timer: PartTimer
    meter: MemoryMeter
    done: int = 0
    """Steps done."""
    held: int = 0
    """Memory that a trial does not add (bytes)."""
    largest: int = 1
    """Largest batch size that was tried."""

    @classmethod
    def of(cls, parts: RunParts, meter: MemoryMeter, clock: Clock) -> TrialRun:
        """Return a trial run in one process."""
        layout, timer = Layout.of(parts.config), PartTimer(parts.device, clock)
        _fill_zeros(parts.denoiser.train())
        forward, gradients = distribute(
            parts.step_loss(),
            Processes(device=parts.device),
            exact=parts.config.training.elastic_exact,
            accumulation=layout.accumulation,
        )
        step = parts.training_step(
            learning_rate_factor=lambda step: 0.0, forward=forward, gradients=gradients, timer=timer
        )
        return cls(parts, layout, step, timer, meter)

    @property
    def clock(self) -> Clock:
        return self.timer.clock

    def advance(self, size: int) -> None:
        """Do one step with micro-batches of this size."""
        positions, count = range(self.done * size, (self.done + 1) * size), self.micro_batches(size)
        self.step.run(self.done, (self._encoded(positions) for _ in range(count)), count=count)
        if self.parts.averages:
            with self.timer.phase("average"):
                for average in self.parts.averages.values():
                    average.update(self.done)
        self.done += 1

    def micro_batches(self, size: int) -> int:
        """Return the number of micro-batches in a step with this size.

        Two if the effective batch has several, since the gradients of the first are in memory during the second.
        """
        return 2 if size < self.layout.global_batch else 1

    def begin_trial(self) -> int:
        """Reset the meter. Returns the memory that earlier trials left, such as kernels of their shapes (bytes)."""
        self.meter.reset()
        return max(0, self.meter.now - self.held)

    def seconds_of_sample(self) -> float:
        """Return the time of a sample that is read and, by encoders that work in every step, encoded."""
        size = min(self.layout.batch_size, 16, self.largest)
        return median(seconds_of(lambda: self._encoded(range(size)), self.parts.device, clock=self.clock)) / size

    @torch.no_grad()
    def seconds_of_forward(self) -> float:
        """Return the time of a sample's forward pass without gradients."""
        size = min(self.layout.batch_size, self.parts.config.validation.num_samples, self.largest)
        batch, denoiser = self._encoded(range(size)), self.parts.denoiser
        scheduler = self.parts.scheduler_of(batch.shape)

        def forward() -> None:
            denoising_loss(denoiser, scheduler, batch, self.parts.precision)

        return median(seconds_of(forward, self.parts.device, clock=self.clock)) / size

    def checkpoint(self) -> CheckpointContents:
        """Return the contents of a checkpoint, apart from some small values."""
        averages = {name: average.module.tensors() for name, average in self.parts.averages.items()}
        model, optimizer = self.parts.denoiser.tensors(), dict(self.step.optimizer.state_dict())
        if has_modes(self.step.optimizer):
            optimizer[TRAIN_WEIGHTS] = dict(trainable_parameters(self.parts.denoiser))
        return CheckpointContents(model, optimizer, {}, {}, averages)

    def gradient_bytes(self) -> float:
        """Return the size of a leaf of the tree of gradients; 0 without a tree."""
        trained = (parameter for _, parameter in trainable_parameters(self.parts.denoiser))
        size = sum(parameter.numel() * parameter.element_size() for parameter in trained)
        return float(size) if self.parts.config.training.elastic_exact else 0.0

    def _encoded(self, positions: range) -> EncodedBatch:
        largest = self.parts.data.train.of_largest_size()
        return self.parts.encoder()(self.parts.visits(largest).__getitems__(positions))


@torch.no_grad()
def _fill_zeros(denoiser: Denoiser) -> None:
    """Replace zeros by small weights: an output of zero makes gradients of zero, and products with those are faster."""
    for parameter in denoiser.parameters():
        if not parameter.any():
            parameter.normal_(std=0.01)
