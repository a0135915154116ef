"""Data order of a mixture: the part, sample and caption of each position, computed for any position alone.

Each part, or with buckets each size of a part, is an endless row of permutations of its samples, laid end to end.
:class:`~dit_run.data.shares.Shares` says which row a position takes and how far it is. With buckets, a micro-batch
first takes a size, by the shares that all parts together have in it, and its positions then take the parts that have
this size.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dit_run.data.order import Order, order_keys, permute
from dit_run.data.shares import Shares

__all__ = ["MixtureOrder", "weights_of"]

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _Row:
    """The samples of one size, by part."""

    shares: Shares
    numbers: tuple[int, ...]
    """Number of each choice of the shares among all parts of all sizes."""
    members: tuple[Ints, ...]
    """The samples of each choice."""


@dataclass(frozen=True)
class MixtureOrder(Order):
    """The endless sequence of visits to ``size`` samples in the shares of their parts."""

    parts: Ints
    """Number of the part of each sample, int64 [size]."""
    weights: tuple[Fraction, ...]
    """Weight of each part."""
    buckets: Ints | None = None
    """Number of the bucket of each sample, int64 [size]; None: micro-batches do not depend on sizes."""
    batch_size: int = 1
    """Positions per micro-batch, which share a bucket."""
    _rows: tuple[_Row, ...] = field(init=False, repr=False)
    _sizes: Shares = field(init=False, repr=False)
    """Shares of the rows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = np.bincount(self.parts, minlength=len(self.weights)).tolist()
        of_sample = [weight / count if count else None for weight, count in zip(self.weights, counts, strict=True)]
        buckets = np.zeros_like(self.parts) if self.buckets is None else self.buckets
        rows, shares = [], []
        for bucket in np.unique(buckets).tolist():
            here = np.flatnonzero(buckets == bucket)
            present = np.unique(self.parts[here]).tolist()
            members = tuple(here[self.parts[here] == part] for part in present)
            weights = tuple(
                len(each) * (of_sample[part] or Fraction(0)) for part, each in zip(present, members, strict=True)
            )
            numbers = tuple(bucket * len(self.weights) + part for part in present)
            rows.append(_Row(Shares(weights), numbers, members))
            shares.append(sum(weights, Fraction(0)))
        object.__setattr__(self, "_rows", tuple(rows))
        object.__setattr__(self, "_sizes", Shares(tuple(shares)))

    def visits(self, positions: ArrayLike, attempt: int = 0) -> tuple[Ints, Ints]:
        """Return epochs of their rows and sample indices, each int64 [n], of positions >= 0.

        ``attempt`` k gives the replacement after k unreadable samples in a row: the sample k places later in the same
        epoch of the same part and size.
        """
        found = [self._place(position, attempt) for position in np.atleast_1d(np.asarray(positions)).tolist()]
        numbers, epochs, places, lengths = np.array([each[1:] for each in found], dtype=np.int64).reshape(-1, 4).T
        permuted = permute(places, lengths, order_keys(self.seed, "order", numbers, epochs)).tolist()
        indices = [members[place] for (members, *_), place in zip(found, permuted, strict=True)]
        return epochs, np.array(indices, dtype=np.int64)

    def _place(self, position: int, attempt: int) -> tuple[Ints, int, int, int, int]:
        """Return members, number, epoch, place before the permutation, and length of the row of a position."""
        row, turn = self._rows[0], position
        if len(self._rows) > 1:
            batch, within = divmod(position, self.batch_size)
            size, block = self._sizes.at(batch)
            row, turn = self._rows[size], block * self.batch_size + within
        choice, visit = row.shares.at(turn)
        members = row.members[choice]
        epoch, place = divmod(visit, len(members))
        return members, row.numbers[choice], epoch, (place + attempt) % len(members), len(members)


def weights_of(weights: Iterable[float]) -> tuple[Fraction, ...]:
    """Return weights as the numbers that are written: 0.1 is a tenth."""
    return tuple(Fraction(repr(weight)) for weight in weights)
