"""The forecast of a run: its memory, disk and time, computed from a probe's measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dit_run.planning.batch_choice import fits, split_of
from dit_run.planning.measurements import Measurements, interpolate
from dit_run.planning.workload import Workload

__all__ = ["Forecast", "Shortage", "forecast", "shortages"]


@dataclass(frozen=True)
class Forecast:
    """The needs of a run."""

    memory: Mapping[str, float]
    """Peak memory of each part of a run (bytes)."""
    disk: Mapping[str, int]
    """Size of the cache, of a checkpoint, and of the most checkpoints at a time (bytes)."""
    seconds: Mapping[str, float]
    """Time of each part of a run, all its repetitions together (seconds)."""
    step: float
    """Time of an optimizer step, data included (seconds)."""

    @property
    def peak(self) -> float:
        return max(self.memory.values())

    @property
    def total(self) -> float:
        """Time of the whole run (seconds)."""
        return sum(self.seconds.values())


def forecast(measured: Measurements, workload: Workload) -> Forecast:
    """Return the needs of a run of this workload."""
    split = split_of(measured, workload, workload.batch_size)
    memory = {"training": split.peak}
    for name, count in workload.images_at_a_time.items():
        memory[name] = interpolate(measured.sampling.peaks, count)
    if measured.encoding:
        memory["filling the cache"] = measured.encoding
    seconds = {name: value for name, value in _seconds(measured, workload, split.seconds).items() if value}
    return Forecast(memory, _disk(measured, workload), seconds, split.seconds)


def _seconds(measured: Measurements, workload: Workload, step: float) -> dict[str, float]:
    image = measured.sampling.fixed + workload.sampling_steps * measured.sampling.evaluation
    return {
        "filling the cache": measured.cache.seconds,
        "training": workload.steps * step,
        "saving": workload.checkpoints * measured.saving,
        "validation": workload.validations * workload.validation_passes * measured.forward,
        "previews": workload.previews * workload.preview_images * image,
        "metrics": workload.scorings * workload.scored_images * image,
    }


def _disk(measured: Measurements, workload: Workload) -> dict[str, int]:
    kept = workload.checkpoints
    if workload.kept_checkpoints is not None:
        kept = min(kept, workload.kept_checkpoints + 1)
    return {
        "cache": measured.cache.size,
        "checkpoint": measured.checkpoint,
        "checkpoints": kept * measured.checkpoint,
    }


@dataclass(frozen=True)
class Shortage:
    """A part of a run, apart from its steps, that takes too much memory with any split of the batch."""

    name: str
    """As in :attr:`Forecast.memory`."""
    size: float
    """Peak memory (bytes)."""
    count: int
    """Images that are sampled at a time; 0 for a part without images."""
    most: int
    """Most images at a time that would fit."""


def shortages(measured: Measurements, workload: Workload, memory: float, *, tried_in: float) -> list[Shortage]:
    """Return the parts that do not fit into this memory, apart from the steps.

    ``tried_in`` is the memory of the trials: one that failed says nothing about a larger memory.
    """
    failed = measured.sampling.failed if memory <= tried_in else 0

    def images_fit(count: int) -> bool:
        return fits(interpolate(measured.sampling.peaks, count), memory) and not (failed and count >= failed)

    found = []
    for name, size in forecast(measured, workload).memory.items():
        count = workload.images_at_a_time.get(name, 0)
        if name != "training" and not (images_fit(count) if count else fits(size, memory)):
            most = next((fewer for fewer in range(count - 1, 0, -1) if images_fit(fewer)), 0)
            found.append(Shortage(name, size, count, most))
    return found
