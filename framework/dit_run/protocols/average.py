"""Averages of the weights: the share of the new weights in each update."""

from __future__ import annotations

from typing import Protocol

__all__ = ["AverageShare"]


class AverageShare(Protocol):
    """``build(options) -> AverageShare``: a pure function of the optimizer step, which defines a moving average.

    After each optimizer step the core does ``average = average + share(step) · (weights - average)``, in float32. The
    average begins as the initial weights. The function has no state to save: a continued run calls it with the number
    of its next step.
    """

    def __call__(self, step: int) -> float:
        """Return the share of the new weights, 0 to 1, in the update after ``step``, counted from 0."""
        ...
