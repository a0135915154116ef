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

from dit_run.data.grouping import Grouping
from dit_run.data.order import Order
from dit_run.data.shard_windows import Row
from dit_run.data.shares import Shares

__all__ = ["MixtureOrder", "weights_of"]

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _Choice:
    """The samples of one size and part."""

    members: Ints
    row: Row


@dataclass(frozen=True)
class _OfSize:
    """The samples of one size, by part."""

    shares: Shares
    choices: tuple[_Choice, ...]
    """The choices of the shares."""


@dataclass(frozen=True)
class MixtureOrder(Order):
    """The endless sequence of visits to ``size`` samples in the shares of their parts."""

    grouping: Grouping
    """The samples by bucket, of which there is one where micro-batches do not depend on sizes, and part."""
    weights: tuple[Fraction, ...]
    """Weight of each part."""
    batch_size: int = 1
    """Positions per micro-batch, which share a bucket."""
    _of_sizes: tuple[_OfSize, ...] = field(init=False, repr=False)
    _sizes: Shares = field(init=False, repr=False)
    """Shares of the sizes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = self.grouping.counts.sum(axis=0).tolist()
        of_sample = [weight / count if count else None for weight, count in zip(self.weights, counts, strict=False)]
        by_bucket: dict[int, dict[int, Ints]] = {}
        for (bucket, part), members in self.grouping.members().items():
            by_bucket.setdefault(bucket, {})[part] = members
        of_sizes, shares = [], []
        for bucket, by_part in by_bucket.items():
            weights = tuple(len(each) * (of_sample[part] or Fraction(0)) for part, each in by_part.items())
            choices = tuple(
                _Choice(each, self.row(each, bucket * len(self.weights) + part, part=part))
                for part, each in by_part.items()
            )
            of_sizes.append(_OfSize(Shares(weights), choices))
            shares.append(sum(weights, Fraction(0)))
        object.__setattr__(self, "_of_sizes", tuple(of_sizes))
        object.__setattr__(self, "_sizes", Shares(tuple(shares)))

    def visits(self, positions: ArrayLike, attempt: int = 0) -> tuple[Ints, Ints]:
        """Return epochs of their rows and sample indices, each int64 [n], of positions >= 0.

        ``attempt`` k gives the replacement after k unreadable samples in a row: the sample k places later in the same
        epoch of the same part and size.
        """
        found = [self._place(position) for position in np.atleast_1d(np.asarray(positions)).tolist()]
        epochs, indices = np.empty(len(found), dtype=np.int64), np.empty(len(found), dtype=np.int64)
        for size, number in set(each[:2] for each in found):
            choice = self._of_sizes[size].choices[number]
            chosen = np.array([place for place, each in enumerate(found) if each[:2] == (size, number)])
            visits = np.array([found[place][2] for place in chosen.tolist()], dtype=np.int64)
            epoch, place = np.divmod(visits, len(choice.members))
            epochs[chosen] = epoch
            indices[chosen] = choice.members[choice.row.at(epoch, (place + attempt) % len(choice.members))]
        return epochs, indices

    def _place(self, position: int) -> tuple[int, int, int]:
        """Return the size and the choice that a position takes, and how many positions have taken both before."""
        size, turn = 0, position
        if len(self._of_sizes) > 1:
            batch, within = divmod(position, self.batch_size)
            size, block = self._sizes.at(batch)
            turn = block * self.batch_size + within
        return size, *self._of_sizes[size].shares.at(turn)


def weights_of(weights: Iterable[float]) -> tuple[Fraction, ...]:
    """Return weights as the numbers that are written: 0.1 is a tenth."""
    return tuple(Fraction(repr(weight)) for weight in weights)
