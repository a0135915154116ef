"""Histograms of data: rows of a name and a count, in bins that suit the values."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows", "of_aspects", "of_counts", "of_sides", "of_tokens"]

Rows = list[tuple[str, int]]
Ints = NDArray[np.int64]

_SIDES = (32, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048)
_ASPECTS = ((1, 2), (9, 16), (2, 3), (3, 4), (1, 1), (4, 3), (3, 2), (16, 9), (2, 1))
_MOST_COUNT = 10
_BINS = 8


def of_sides(sides: NDArray[np.float64]) -> Rows:
    """Return counts of sides (pixels)."""
    bins = np.bincount(np.searchsorted(_SIDES, sides, side="right"), minlength=len(_SIDES) + 1).tolist()
    between = [f"{low} to {high - 1}" for low, high in pairwise(_SIDES)]
    return list(zip([f"below {_SIDES[0]}", *between, f"{_SIDES[-1]} or more"], bins, strict=True))


def of_aspects(heights: Ints, widths: Ints) -> Rows:
    """Return counts of the nearest usual aspect ratio, by the logarithm."""
    logs = np.log([wide / high for wide, high in _ASPECTS])
    nearest = np.abs(np.log(widths / heights)[:, None] - logs).argmin(axis=1)
    bins = np.bincount(nearest, minlength=len(_ASPECTS)).tolist()
    names = [f"{wide}:{high}" for wide, high in _ASPECTS]
    names[0], names[-1] = f"{names[0]} and narrower", f"{names[-1]} and wider"
    return list(zip(names, bins, strict=True))


def of_counts(counts: Ints) -> Rows:
    """Return counts of small numbers."""
    bins = np.bincount(np.minimum(counts, _MOST_COUNT + 1), minlength=_MOST_COUNT + 2).tolist()
    return list(zip([*map(str, range(_MOST_COUNT + 1)), f"more than {_MOST_COUNT}"], bins, strict=True))


def of_tokens(tokens: Ints, limit: int, longer: int) -> Rows:
    """Return counts of numbers of tokens up to the limit, and of captions that are longer and cut to it."""
    width = -(-limit // _BINS)
    bins = np.bincount((tokens - 1) // width, minlength=_BINS).tolist()
    firsts = range(1, limit + 1, width)
    rows = [(f"{first} to {min(first + width - 1, limit)}", bins[at]) for at, first in enumerate(firsts)]
    rows[-1] = rows[-1][0], rows[-1][1] - longer
    return [*rows, (f"more than {limit}", longer)]
