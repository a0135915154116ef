"""Learning-rate schedulers: a factor for each step."""

from __future__ import annotations

from typing import Protocol

__all__ = ["LearningRateFactor"]


class LearningRateFactor(Protocol):
    """``build(options, *, total_steps, learning_rate) -> LearningRateFactor``: a pure function of the optimizer step.

    ``total_steps`` is the length of the run in optimizer steps; ``learning_rate`` is the peak, for schedules that end
    at a rate of the config. The function has no state to save: a continued run calls it with the number of its next
    step.
    """

    def __call__(self, step: int) -> float:
        """Return the factor, 0 to 1, on the peak learning rate at ``step``, counted from 0 to total_steps - 1."""
        ...
