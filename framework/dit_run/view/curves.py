"""Curves for a screen: each series reduced to buckets with mean, minimum and maximum, so that no peak is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dit_run.runs.reading.metrics_log import MetricsLog, Series

__all__ = ["curves", "reduced"]

Numbers = NDArray[np.float64]


def curves(log: MetricsLog, points: int, low: float = -np.inf, high: float = np.inf) -> dict[str, dict[str, Any]]:
    """Return all series of a log between two steps, each with at most ``points`` values."""
    return {name: reduced(log.series(name), points, low, high) for name in log.names}


def reduced(series: Series, points: int, low: float = -np.inf, high: float = np.inf) -> dict[str, Any]:
    """Return steps ``x``, times ``t`` and values ``y`` of a series, with ``low`` and ``high`` where it was reduced.

    A bucket has the mean of its finite values, and all extremes are kept; ``bad`` counts values that are not finite.
    """
    steps, times, values = series.steps, series.times, series.values.astype(np.float64)
    if low > -np.inf or high < np.inf:
        inside = (steps >= low) & (steps <= high)
        steps, times, values = steps[inside], times[inside], values[inside]
    finite = np.isfinite(values)
    found: dict[str, Any] = {"count": len(steps), "bad": int((~finite).sum())}
    if len(steps) <= points:
        return {**found, "x": steps, "t": times, "y": values.astype(np.float32)}
    if np.any(steps[1:] < steps[:-1]):
        order = np.argsort(steps, kind="stable")
        steps, times, values, finite = steps[order], times[order], values[order], finite[order]
    starts = _starts(steps, points)
    counts = np.diff(np.append(starts, len(steps)))
    values = np.where(finite, values, np.nan)
    number = np.add.reduceat(finite.astype(np.float64), starts)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.add.reduceat(np.where(finite, values, 0.0), starts) / number
    return {
        **found,
        "x": np.rint(np.add.reduceat(steps, starts) / counts),
        "t": np.add.reduceat(times, starts) / counts,
        "y": mean.astype(np.float32),
        "low": np.fmin.reduceat(values, starts).astype(np.float32),
        "high": np.fmax.reduceat(values, starts).astype(np.float32),
    }


def _starts(steps: Numbers, points: int) -> NDArray[np.int64]:
    """Return where each bucket that is not empty begins; buckets are equally wide."""
    span = max(steps[-1] - steps[0], 1.0)
    edges = steps[0] + span * np.arange(points) / points
    return np.unique(np.searchsorted(steps, edges))
