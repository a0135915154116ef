"""The numbers that a grouping of samples was made of."""

from __future__ import annotations

import numpy as np

from dit_run.data.grouping import Grouping, Ints

__all__ = ["part_numbers", "size_numbers"]


def size_numbers(grouping: Grouping) -> Ints:
    """Return the number of the size of each sample."""
    return _numbers(grouping)[:, 0]


def part_numbers(grouping: Grouping) -> Ints:
    """Return the number of the part of each sample."""
    return _numbers(grouping)[:, 1]


def _numbers(grouping: Grouping) -> Ints:
    numbers = np.empty((len(grouping.places), 2), dtype=np.int64)
    for numbers_of_group, places in grouping.members().items():
        numbers[places] = numbers_of_group
    return numbers
