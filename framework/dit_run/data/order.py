"""Data order: which sample and caption belong to a position, and the length of a run in steps.

Position p = step × global batch + j. Epochs are permutations of all samples, one after the other. A permutation is a
Feistel network (Luby and Rackoff, 1988) on a × a with a = ceil(sqrt(n)), repeated until the value is in [0, n): any
index is computed alone, in constant time and memory for every n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dit_run.compute.random_streams import MAX_SEED, keyed_hash

__all__ = ["Order", "RunLength", "order_keys", "permute"]

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_TURNS = np.arange(1, 9, dtype=np.uint64) * _GOLDEN


def permute(index: ArrayLike, size: ArrayLike, key: ArrayLike) -> Ints:
    """Apply the permutation of [0, size) with the given ``key`` (uint64) to ``index``; the three arguments broadcast.

    Raises ValueError for an index outside [0, size).
    """
    indices, sizes, keys = np.broadcast_arrays(
        np.asarray(index, dtype=np.int64), np.asarray(size, dtype=np.int64), np.asarray(key, dtype=np.uint64)
    )
    if np.any((indices < 0) | (indices >= sizes)):
        raise ValueError("an index lies outside [0, size)")
    limit, result = sizes.astype(np.uint64).ravel(), indices.astype(np.uint64).ravel()
    walking = np.arange(result.size)
    side = np.ceil(np.sqrt(limit.astype(np.float64))).astype(np.uint64)
    words = keys.ravel()
    while walking.size:
        result[walking] = _feistel(result[walking], side[walking], words[walking])
        walking = walking[result[walking] >= limit[walking]]
    return result.astype(np.int64).reshape(indices.shape)


def _feistel(value: Words, side: Words, key: Words) -> Words:
    left, right = value // side, value % side
    for turn in _TURNS:
        mixed = _mix(right + _mix(key + turn))
        left, right = right, (left + mixed % side) % side
    return left * side + right


def _mix(words: Words) -> Words:
    """Apply the finalizer of SplitMix64 (Steele, Lea and Flood, 2014) to an array; products wrap silently."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def order_keys(seed: int, purpose: str, *numbers: Ints) -> Words:
    """Return one key word, uint64 [n], for each row of numbers >= 0."""
    key = np.array([keyed_hash(f"{purpose}:{seed}")], dtype=np.uint64)
    for number in numbers:
        key = _mix(key + (number.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    return key


@dataclass(frozen=True)
class Order:
    """The endless sequence of visits to ``size`` samples for a seed."""

    size: int
    seed: int

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"an order has at least one sample and a seed in [0, {MAX_SEED}], not {self}")

    def visits(self, positions: ArrayLike, attempt: int = 0) -> tuple[Ints, Ints]:
        """Return epochs and sample indices, each int64 [n], of positions >= 0.

        ``attempt`` k gives the replacement after k unreadable samples in a row: the sample k places later in the same
        epoch, where the start follows the end.
        """
        epoch, place = np.divmod(np.atleast_1d(np.asarray(positions, dtype=np.int64)), self.size)
        return epoch, permute((place + attempt) % self.size, self.size, order_keys(self.seed, "order", epoch))

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
        turn = int((start + np.array([epoch], dtype=np.uint64) * _GOLDEN)[0]) / 2.0**64
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
