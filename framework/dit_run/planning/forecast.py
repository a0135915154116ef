"""What a run will need: memory, disk and time, worked out from what a short probe measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dit_run.sampling.pipeline import PREVIEW_BATCH, SCORING_BATCH

__all__ = [
    "MARGIN",
    "BatchSplit",
    "Cache",
    "Forecast",
    "Lack",
    "Measured",
    "Pictures",
    "Workload",
    "best",
    "fits",
    "forecast",
    "interpolate",
    "lacks",
    "splits",
]

BETTER = 0.95
"""Another split is proposed for speed only where it takes less than this share of the config's own time."""
MARGIN = 0.95
"""Share of the memory that a run may be predicted to take; the rest is kept free."""


@dataclass(frozen=True)
class Measured:
    """What a probe found, on one device in one process. Bytes, and seconds of warm runs."""

    parameters: int
    """All that trains."""
    peaks: Sequence[tuple[int, float]]
    """(batch size, peak memory of its training steps), rising."""
    passes: Sequence[tuple[int, float]]
    """(batch size, seconds of forward and backward)."""
    update: float
    """Seconds of an optimizer step beside them: clipping, update, average."""
    data: float
    """Seconds of a sample in the loader and in encoders that work in every step."""
    forward: float
    """Seconds of a sample's forward pass without gradients."""
    pictures: Pictures
    encoding: float
    """Peak memory while the cache is filled; 0 where there is none."""
    checkpoint: int
    """Bytes on the disk."""
    saving: float
    """Seconds of one."""
    cache: Cache
    gradients: float = 0.0
    """Bytes of the gradients that wait on a level of the tree which ``training.elastic_exact`` adds them in; 0 for
    none."""


@dataclass(frozen=True)
class Pictures:
    """What drawing takes."""

    peaks: Sequence[tuple[int, float]]
    """(pictures at a time, peak memory)."""
    evaluation: float
    """Seconds of a picture's sampling step, guidance included."""
    fixed: float
    """Seconds of a picture beside them: the VAE's decoder, mostly."""
    failed: int = 0
    """How many at a time ran out of memory; 0 where none did."""


@dataclass(frozen=True)
class Cache:
    """What is kept of frozen encoders' output. All zero where nothing is."""

    size: int = 0
    """Bytes."""
    seconds: float = 0.0
    """To make it all."""


@dataclass(frozen=True)
class Workload:
    """What a config asks for."""

    batch_size: int
    accumulation: int
    steps: int
    workers: int
    """Loading processes; with 0 the training process waits for its data."""
    kept_checkpoints: int | None
    """At most; None keeps all."""
    checkpoints: int
    """How many are written."""
    validations: int
    validation_passes: int
    """Forward passes of samples in one validation."""
    previews: int
    preview_pictures: int
    scorings: int
    scored_pictures: int
    sampling_steps: int
    powers_of_two: bool = False
    """``training.elastic_exact`` takes no other numbers of micro-batches."""

    @property
    def drawn_at_a_time(self) -> Mapping[str, int]:
        """How many pictures are drawn together for each purpose that the run has."""
        counts = {
            "previews": min(self.preview_pictures, PREVIEW_BATCH) if self.previews else 0,
            "metrics": min(self.scored_pictures, SCORING_BATCH) if self.scorings else 0,
        }
        return {name: count for name, count in counts.items() if count}


@dataclass(frozen=True)
class Forecast:
    """What a run will need."""

    memory: Mapping[str, float]
    """Peak bytes of each part of a run; the greatest is the run's."""
    disk: Mapping[str, int]
    """Bytes of the cache, of a checkpoint, and of all checkpoints there are at a time."""
    seconds: Mapping[str, float]
    """Of each part of a run, all its repetitions together."""
    step: float
    """Seconds of an optimizer step, data included."""

    @property
    def peak(self) -> float:
        return max(self.memory.values())

    @property
    def total(self) -> float:
        """Seconds of the whole run."""
        return sum(self.seconds.values())


def forecast(measured: Measured, load: Workload) -> Forecast:
    """The needs of a run of this load."""
    split = _split(measured, load, load.batch_size)
    memory = {"training": split.peak}
    for name, count in load.drawn_at_a_time.items():
        memory[name] = interpolate(measured.pictures.peaks, count)
    if measured.encoding:
        memory["filling the cache"] = measured.encoding
    picture = measured.pictures.fixed + load.sampling_steps * measured.pictures.evaluation
    seconds = {
        "filling the cache": measured.cache.seconds,
        "training": load.steps * split.seconds,
        "saving": load.checkpoints * measured.saving,
        "validation": load.validations * load.validation_passes * measured.forward,
        "previews": load.previews * load.preview_pictures * picture,
        "metrics": load.scorings * load.scored_pictures * picture,
    }
    kept = load.checkpoints if load.kept_checkpoints is None else min(load.checkpoints, load.kept_checkpoints + 1)
    disk = {"cache": measured.cache.size, "checkpoint": measured.checkpoint, "checkpoints": kept * measured.checkpoint}
    return Forecast(memory, disk, {name: value for name, value in seconds.items() if value}, split.seconds)


@dataclass(frozen=True)
class BatchSplit:
    """A way to make up an effective batch."""

    batch_size: int
    accumulation: int
    peak: float
    """Bytes while training."""
    seconds: float
    """Of an optimizer step."""


def splits(measured: Measured, load: Workload) -> list[BatchSplit]:
    """Every split of the effective batch, the largest batch size first."""
    effective = load.batch_size * load.accumulation
    sizes = [size for size in range(effective, 0, -1) if effective % size == 0]
    if load.powers_of_two:
        sizes = [size for size in sizes if (effective // size).bit_count() == 1]
    return [_split(measured, load, size) for size in sizes]


def _split(measured: Measured, load: Workload, size: int) -> BatchSplit:
    effective = load.batch_size * load.accumulation
    accumulation = effective // size
    computing = accumulation * interpolate(measured.passes, size) + measured.update
    loading = measured.data * effective
    seconds = max(computing, loading / load.workers) if load.workers else computing + loading
    return BatchSplit(size, accumulation, interpolate(measured.peaks, size) + _waiting(measured, accumulation), seconds)


def _waiting(measured: Measured, accumulation: int) -> float:
    """Bytes of gradients that wait in the tree beside those of the two micro-batches that were tried."""
    return measured.gradients * max(0, accumulation.bit_length() - 2)


def fits(size: float, memory: float) -> bool:
    """Whether a run that is predicted to take so many bytes may."""
    return size <= MARGIN * memory


def best(candidates: Sequence[BatchSplit], load: Workload, memory: float) -> BatchSplit | None:
    """The config's own split where it fits into so many bytes and no other is clearly quicker; else the quickest that
    fits; None where none does."""
    fitting = [split for split in candidates if fits(split.peak, memory)]
    if not fitting:
        return None
    quickest = min(fitting, key=lambda split: split.seconds)
    own = next((split for split in fitting if split.batch_size == load.batch_size), None)
    return own if own is not None and quickest.seconds > BETTER * own.seconds else quickest


@dataclass(frozen=True)
class Lack:
    """A part of a run beside its steps that takes too much memory, however the batch is split."""

    name: str
    """As in :attr:`Forecast.memory`."""
    size: float
    """Bytes."""
    count: int
    """Pictures that are drawn at a time; 0 where none are."""
    most: int
    """How many at a time would fit."""


def lacks(measured: Measured, load: Workload, memory: float, *, tried_in: float) -> list[Lack]:
    """What does not fit into so many bytes beside the steps. ``tried_in`` are the bytes there were for the tries: those
    that failed say nothing of more memory than that."""
    needs, drawn = forecast(measured, load).memory, load.drawn_at_a_time
    failed = measured.pictures.failed if memory <= tried_in else 0

    def fit(count: int) -> bool:
        return fits(interpolate(measured.pictures.peaks, count), memory) and not (failed and count >= failed)

    found = []
    for name, size in needs.items():
        count = drawn.get(name, 0)
        if name != "training" and not (fit(count) if count else fits(size, memory)):
            most = next((fewer for fewer in range(count - 1, 0, -1) if fit(fewer)), 0)
            found.append(Lack(name, size, count, most))
    return found


def interpolate(points: Sequence[tuple[int, float]], at: float) -> float:
    """The value on the broken line through points of rising place, which goes on beyond its ends. One point is a level
    line."""
    if len(points) == 1:
        return points[0][1]
    segments = list(pairwise(points))
    (left, low), (right, high) = next((pair for pair in segments if at <= pair[1][0]), segments[-1])
    return low + (high - low) * (at - left) / (right - left)
