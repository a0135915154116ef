"""Data order: which sample and caption belong to a position, and the length of a run in steps.

Position p = step × global batch + j. Epochs are permutations of all samples, one after the other, of which any place is
computed alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dit_run.compute.random_streams import MAX_SEED
from dit_run.data.permutation import GOLDEN, order_keys, permute
from dit_run.data.shard_windows import Row, SampleShards

__all__ = ["Order", "RunLength"]

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """The endless sequence of visits to ``size`` samples for a seed."""

    size: int
    seed: int
    shards: SampleShards | None = field(default=None, kw_only=True, repr=False)
    """Shards of the samples, for an order in windows of shards."""

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"an order has at least one sample and a seed in [0, {MAX_SEED}], not {self}")

    def visits(self, positions: ArrayLike, attempt: int = 0) -> tuple[Ints, Ints]:
        """Return epochs and sample indices, each int64 [n], of positions >= 0.

        ``attempt`` k gives the replacement after k unreadable samples in a row: the sample k places later in the same
        epoch, where the start follows the end.
        """
        epoch, place = np.divmod(np.atleast_1d(np.asarray(positions, dtype=np.int64)), self.size)
        return epoch, self._whole.at(epoch, (place + attempt) % self.size)

    @cached_property
    def _whole(self) -> Row:
        """The row of all samples."""
        return self.row(None)

    def row(self, members: Ints | None, *numbers: int, part: int = 0) -> Row:
        """Return the row of some samples of a part, all if None; ``numbers`` tell it from other rows."""
        size = self.size if members is None else len(members)
        windows = None if self.shards is None else self.shards.windows[part]
        if self.shards is None or windows is None:
            return Row(size, self.seed, numbers)
        indices = self.shards.indices if members is None else self.shards.indices[members]
        return Row(size, self.seed, numbers, windows.shards, windows.counts(indices))

    def captions(self, epochs: ArrayLike, indices: ArrayLike, counts: ArrayLike) -> Ints:
        """Return which of the ``counts`` captions of a sample is used in an epoch: all are used before one repeats."""
        epoch, index, count = np.broadcast_arrays(
            *(np.atleast_1d(np.asarray(each, dtype=np.int64)) for each in (epochs, indices, counts))
        )
        turn, place = np.divmod(epoch, count)
        return permute(place, count, order_keys(self.seed, "caption", index, turn))

    def weighted_caption(self, epoch: int, index: int, weights: Sequence[float]) -> int:
        """Return which caption of a sample is used in an epoch, each as often as its weight (> 0) says.

        Epochs go round a circle in steps of the golden ratio from a start of the sample's own (a Weyl sequence): in
        every n epochs the count of a caption differs from n times its share by O(log n).
        """
        start = order_keys(self.seed, "weighted caption", np.array([index]))
        turn = int((start + np.array([epoch], dtype=np.uint64) * GOLDEN)[0]) / 2.0**64
        ends = np.cumsum(np.asarray(weights, dtype=np.float64))
        return min(int(np.searchsorted(ends, turn * ends[-1], side="right")), len(ends) - 1)


@dataclass(frozen=True)
class RunLength:
    """Length of a run. Steps count optimizer updates; step s uses the positions [s, s + 1) × global_batch."""

    size: int
    """Number of training samples."""
    global_batch: int
    """Samples per optimizer step, over all processes and micro-batches."""
    epochs: int | None
    """None if ``max_steps`` alone ends the run."""
    max_steps: int | None = None

    def __post_init__(self) -> None:
        if self.epochs is None and self.max_steps is None:
            raise ValueError("a run ends after some epochs or steps")

    @property
    def total_steps(self) -> int:
        """ceil(epochs × size / global_batch) or max_steps, whichever is smaller."""
        by_epochs = None if self.epochs is None else self.first_step_completing(self.epochs)
        return min(steps for steps in (by_epochs, self.max_steps) if steps is not None)

    def first_step_completing(self, epochs: int) -> int:
        """Return the number of steps after which ``epochs`` epochs are complete for the first time."""
        return -(-epochs * self.size // self.global_batch)

    def completed_epochs(self, steps: int) -> int:
        """Return the number of complete epochs after ``steps`` steps."""
        return steps * self.global_batch // self.size

    def completes_every(self, steps: int, epochs: int) -> bool:
        """Return True if step number ``steps`` (from 1) is the first that completes another ``epochs`` epochs."""
        return self.completed_epochs(steps) // epochs > self.completed_epochs(steps - 1) // epochs
