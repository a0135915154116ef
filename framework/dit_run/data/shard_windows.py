"""Shard windows: an order at two levels, in which samples that are near in time lie in a few shards.

In each epoch the shards are permuted and taken in windows of a fixed number of shards; the samples of a window are
permuted among themselves. So every sample is visited once per epoch, and a loader that reads the shards of a window
ahead reads each shard once per epoch. The permutation of the shards is found once per epoch, and each place in constant
time, whatever the number of samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dit_run.data.permutation import order_keys, permute

__all__ = ["Row", "SampleShards", "ShardWindows"]

Ints = NDArray[np.int64]

_EPOCHS = 4
"""Epochs whose permutations of shards are kept (number)."""


@dataclass(frozen=True, eq=False)
class ShardWindows:
    """Windows of shards in which a dataset, or a part of one, is read."""

    shards: int
    """Shards in a window."""
    starts: Ints
    """Index of the first sample of each shard in the whole dataset, then the end of the last one."""

    def counts(self, indices: Ints) -> Ints:
        """Return how many of some samples each shard has. ``indices`` are in the dataset, ascending."""
        return np.diff(np.searchsorted(indices, self.starts))


@dataclass(frozen=True, eq=False)
class SampleShards:
    """Shards of the samples of a run, and the windows in which they are read."""

    indices: Ints
    """Index of each sample in the dataset, ascending in each part that has windows."""
    windows: tuple[ShardWindows | None, ...]
    """Windows of each part of the data; None: the part is not read in windows."""


@dataclass(frozen=True, eq=False)
class _Epoch:
    """The shards of an epoch in their order."""

    order: Ints
    ends: Ints
    """Place after the last sample of each shard, in this order."""
    windows: Ints
    """Place after the last sample of each window."""


@dataclass(frozen=True, eq=False)
class Row:
    """An endless row of permutations of ``size`` samples, laid end to end.

    Samples are numbered shard by shard where there are windows.
    """

    size: int
    seed: int
    numbers: tuple[int, ...] = ()
    """Numbers that tell this row from others."""
    shards: int = 0
    """Shards in a window; 0: all samples are permuted among themselves."""
    counts: Ints | None = None
    """Samples of each shard."""
    _starts: Ints = field(init=False, repr=False)
    """Number of the first sample of each shard."""
    _epochs: dict[int, _Epoch] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        counts = np.zeros(0, dtype=np.int64) if self.counts is None else self.counts
        object.__setattr__(self, "_starts", np.cumsum(counts) - counts)

    def at(self, epochs: Ints, places: Ints) -> Ints:
        """Return the numbers of the samples at these places, in [0, size), of these epochs."""
        if self.counts is None:
            return permute(places, self.size, self._keys("order", epochs))
        found = np.empty_like(places)
        for epoch in np.unique(epochs).tolist():
            chosen = epochs == epoch
            found[chosen] = self._windowed(epoch, places[chosen])
        return found

    def _windowed(self, epoch: int, places: Ints) -> Ints:
        shards = self._epoch(epoch)
        window = np.searchsorted(shards.windows, places, side="right")
        ends = shards.windows[window]
        starts = np.where(window > 0, shards.windows[window - 1], 0)
        keys = self._keys("window", np.full_like(window, epoch), window)
        inside = starts + permute(places - starts, ends - starts, keys)
        slot = np.searchsorted(shards.ends, inside, side="right")
        shard = shards.order[slot]
        return self._starts[shard] + inside - (shards.ends[slot] - self._counts[shard])

    @property
    def _counts(self) -> Ints:
        return np.zeros(0, dtype=np.int64) if self.counts is None else self.counts

    def _epoch(self, epoch: int) -> _Epoch:
        known = self._epochs.get(epoch)
        if known is None:
            # The key leaves out the numbers of the row, so that rows which advance together read the same shards.
            count = len(self._counts)
            order = permute(np.arange(count), count, order_keys(self.seed, "shards", np.array([epoch])))
            ends = np.cumsum(self._counts[order])
            last = np.minimum(np.arange(self.shards, count + self.shards, self.shards), count) - 1
            known = _Epoch(order, ends, ends[last])
            while len(self._epochs) >= _EPOCHS:
                self._epochs.pop(next(iter(self._epochs)), None)
            self._epochs[epoch] = known
        return known

    def _keys(self, purpose: str, *numbers: Ints) -> NDArray[np.uint64]:
        own = (np.full_like(numbers[0], number) for number in self.numbers)
        return order_keys(self.seed, purpose, *own, *numbers)
