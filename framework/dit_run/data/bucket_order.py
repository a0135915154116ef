"""Data order with buckets: which bucket, samples and captions a micro-batch takes, computed for any micro-batch alone.

Each bucket is an endless row of permutations of its samples, laid end to end, and a micro-batch takes the next
``batch_size`` places of one row. Micro-batches are counted in turns of about :data:`TURN`: after t turns, bucket b with
n_b of n samples has had exactly floor(t · TURN · n_b / n) micro-batches. So every place of a row is taken once, no
bucket is more than one micro-batch away from its share at the end of a turn, and the counts follow from t alone. Inside
a turn, a keyed permutation mixes the buckets; each bucket takes its blocks one after the other. All rows advance at the
same share of their epochs, so with windows of shards (:mod:`dit_run.data.shard_windows`) they read the same shards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dit_run.data.grouping import Grouping
from dit_run.data.order import Order
from dit_run.data.permutation import order_keys, permute
from dit_run.data.shard_windows import Row

__all__ = ["TURN", "BucketOrder"]

TURN = 64
"""Micro-batches in a turn, apart from rounding (number)."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class BucketOrder(Order):
    """The endless sequence of visits to ``size`` samples whose micro-batches hold one bucket each."""

    grouping: Grouping
    """The samples by bucket."""
    batch_size: int
    """Positions per micro-batch."""
    _members: tuple[Ints, ...] = field(init=False, repr=False)
    """The samples of each bucket that has some."""
    _rows: tuple[Row, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        members = list(self.grouping.members().values())
        object.__setattr__(self, "_members", tuple(members))
        object.__setattr__(self, "_rows", tuple(self.row(each, bucket) for bucket, each in enumerate(members)))

    def visits(self, positions: ArrayLike, attempt: int = 0) -> tuple[Ints, Ints]:
        """Return epochs of their buckets and sample indices, each int64 [n], of positions >= 0.

        ``attempt`` k gives the replacement after k unreadable samples in a row: the sample k places later in the same
        epoch of the same bucket.
        """
        batches, within = np.divmod(np.atleast_1d(np.asarray(positions, dtype=np.int64)), self.batch_size)
        epochs, indices = np.empty_like(within), np.empty_like(within)
        for batch in np.unique(batches).tolist():
            chosen = batches == batch
            bucket, block = self.block(batch)
            members = self._members[bucket]
            epoch, place = np.divmod(block * self.batch_size + within[chosen], len(members))
            epochs[chosen] = epoch
            indices[chosen] = members[self._rows[bucket].at(epoch, (place + attempt) % len(members))]
        return epochs, indices

    def block(self, batch: int) -> tuple[int, int]:
        """Return the bucket of micro-batch ``batch`` (number, of those with samples), and which of its blocks it is."""
        counts = tuple(len(members) for members in self._members)
        turn = batch // TURN
        while _taken(counts, turn + 1).sum() <= batch:
            turn += 1
        buckets, blocks = _turn(counts, self.seed, turn)
        place = batch - int(_taken(counts, turn).sum())
        return int(buckets[place]), int(blocks[place])


def _taken(counts: tuple[int, ...], turns: int) -> Ints:
    """Return how many micro-batches each bucket has had after this number of turns."""
    size = sum(counts)
    return np.array([turns * TURN * count // size for count in counts], dtype=np.int64)


@lru_cache(maxsize=8)
def _turn(counts: tuple[int, ...], seed: int, turn: int) -> tuple[Ints, Ints]:
    """Return bucket and block of each micro-batch of a turn; the blocks of a bucket follow each other in time."""
    before = _taken(counts, turn)
    taken = _taken(counts, turn + 1) - before
    ordered = np.repeat(np.arange(len(counts)), taken)
    buckets = ordered[permute(np.arange(len(ordered)), len(ordered), order_keys(seed, "turn", np.array([turn])))]
    blocks = np.empty_like(buckets)
    for bucket, first in enumerate(before.tolist()):
        mine = buckets == bucket
        blocks[mine] = first + np.arange(np.count_nonzero(mine))
    return buckets, blocks
