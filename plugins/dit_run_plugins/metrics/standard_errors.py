"""Standard errors of scores: the spread of the score over images drawn again, with repetition, from those at hand.

This is the bootstrap (Efron 1979). It says how far the score of other images, as many and of the same model, would lie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Counts", "Distance", "Features", "mean_with_error", "measure", "named"]

Features = NDArray[np.floating]
"""float [n, d]: a row for each image."""
Counts = NDArray[np.int64]
"""int [r, n]: how often each of n images is in each of r sets of n images."""
Distance = Callable[[Features, Features, Counts, Counts], NDArray[np.float64]]
"""Return float [r]: the distances of r pairs of sets of images; nan where a set has too few different ones."""

RESAMPLES = 64
"""Sets of images that are drawn (number): a standard error that is right to about a tenth."""


def measure(distance: Distance, one: Features, other: Features) -> tuple[float, float]:
    """Return the distance of two sets of images and its standard error, over new draws of both.

    The draws are always the same. The error is nan for sets too small to be drawn again.
    """
    generator = np.random.default_rng(0)
    counts = [_drawn(len(features), generator) for features in (one, other)]
    values = distance(one, other, *counts)
    drawn = values[1:][np.isfinite(values[1:])]
    return float(values[0]), float(drawn.std(ddof=1)) if len(drawn) > 1 else float("nan")


def mean_with_error(values: ArrayLike) -> tuple[float, float]:
    """Return the mean of a number for each image, and its standard error; nan for a single image.

    For a mean the spread over all possible draws is known: the deviation of the numbers over the root of their count.
    """
    numbers = np.asarray(values, dtype=np.float64)
    return float(numbers.mean()), float(numbers.std() / np.sqrt(len(numbers))) if len(numbers) > 1 else float("nan")


def named(scores: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Return each score by its name, and its standard error as ``NAME/standard_error`` where it has one."""
    values: dict[str, float] = {}
    for name, (value, error) in scores.items():
        values[name] = value
        if isfinite(error):
            values[f"{name}/standard_error"] = error
    return values


def _drawn(count: int, generator: np.random.Generator) -> Counts:
    """Return the images at hand, each once, and then the sets that are drawn from them."""
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.concatenate([np.ones((1, count), dtype=np.int64), drawn])
