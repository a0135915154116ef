"""Splits of an effective batch into a batch size and gradient accumulation, and the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dit_run.planning.measurements import Measurements, interpolate
from dit_run.planning.workload import Workload

__all__ = ["MARGIN", "BatchSplit", "best_split", "fits", "split_of", "splits"]

BETTER = 0.95
"""Most time of a split that is proposed for its speed (share of the time of the config's own split)."""
MARGIN = 0.95
"""Most predicted memory of a run (share of the memory of the device); the rest is kept free."""


@dataclass(frozen=True)
class BatchSplit:
    """A batch size and accumulation that make up an effective batch."""

    batch_size: int
    accumulation: int
    peak: float
    """Peak memory of training (bytes)."""
    seconds: float
    """Time of an optimizer step (seconds)."""


def splits(measured: Measurements, workload: Workload) -> list[BatchSplit]:
    """Return every split of the effective batch, the largest batch size first."""
    effective = workload.effective_batch
    sizes = [size for size in range(effective, 0, -1) if effective % size == 0]
    if workload.powers_of_two:
        sizes = [size for size in sizes if (effective // size).bit_count() == 1]
    return [split_of(measured, workload, size) for size in sizes]


def split_of(measured: Measurements, workload: Workload, size: int) -> BatchSplit:
    """Return the split with this batch size."""
    accumulation = workload.effective_batch // size
    computing = accumulation * interpolate(measured.passes, size) + measured.update
    loading = measured.data * workload.effective_batch
    seconds = max(computing, loading / workload.workers) if workload.workers else computing + loading
    # The trials held the gradients of two micro-batches; those of further levels of the tree come on top.
    waiting = measured.gradients * max(0, accumulation.bit_length() - 2)
    return BatchSplit(size, accumulation, interpolate(measured.peaks, size) + waiting, seconds)


def fits(size: float, memory: float) -> bool:
    """Return True if a predicted size fits into this memory, both in bytes, with a margin."""
    return size <= MARGIN * memory


def best_split(candidates: Sequence[BatchSplit], workload: Workload, memory: float) -> BatchSplit | None:
    """Return the fastest split that fits into the memory, or the config's own if it is about as fast, or None."""
    fitting = [split for split in candidates if fits(split.peak, memory)]
    if not fitting:
        return None
    fastest = min(fitting, key=lambda split: split.seconds)
    own = next((split for split in fitting if split.batch_size == workload.batch_size), None)
    return own if own is not None and fastest.seconds > BETTER * own.seconds else fastest
