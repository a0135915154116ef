"""Grouping: the samples of a run by size and part, as an order of all of them and a number of samples for each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Grouping"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Grouping:
    """The samples by their sizes and, in each, by their parts; in each of these ascending."""

    places: Ints
    """Places of the samples in the run's list, int64 [n]."""
    counts: Ints
    """Number of samples of each size and part, int64 [sizes, parts]."""

    @classmethod
    def of(cls, sizes: Ints, parts: Ints | None = None) -> Grouping:
        """Return the grouping of samples by the number of their size and, unless all have one part, of their part."""
        numbers = sizes if parts is None else sizes * (int(parts.max(initial=0)) + 1) + parts
        width = 1 if parts is None else int(parts.max(initial=0)) + 1
        high = int(sizes.max(initial=-1)) + 1
        counts = np.bincount(numbers, minlength=high * width)
        return cls(np.argsort(numbers, kind="stable"), counts.reshape(high, width))

    @cached_property
    def present(self) -> list[tuple[int, int]]:
        """The numbers of size and part that some samples have."""
        return [(size, part) for size, part in np.argwhere(self.counts).tolist()]

    def members(self) -> dict[tuple[int, int], Ints]:
        """Return the places of the samples of each size and part that has some."""
        ends = np.cumsum(self.counts).reshape(self.counts.shape)
        return {
            (size, part): self.places[ends[size, part] - self.counts[size, part] : ends[size, part]]
            for size, part in self.present
        }
