"""Splits of an effective batch by their estimated memory on a GPU that is not at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dit_run.assembly.parts import encoder_shapes
from dit_run.planning.batch_choice import fits
from dit_run.planning.measurements import interpolate
from dit_run.planning.memory_estimate import estimate_step
from dit_run.planning.text_weights import TextWeights, live_size
from dit_run.settings import Config

__all__ = ["EstimatedSplit", "SplitEstimate", "estimate_splits"]


@dataclass(frozen=True)
class EstimatedSplit:
    """A batch size and accumulation that make up an effective batch."""

    batch_size: int
    accumulation: int
    peak: float
    """Most memory of training (bytes)."""


@dataclass(frozen=True)
class SplitEstimate:
    """The splits of a config's effective batch."""

    parameters: int
    """Parameters that train (number)."""
    splits: Sequence[EstimatedSplit]
    """The largest batch size first."""
    own: EstimatedSplit
    """The split of the config."""

    def proposal(self, memory: float) -> EstimatedSplit | None:
        """Return the config's split if it fits into this memory (bytes), else the largest that does, or None."""
        fitting = [split for split in self.splits if fits(split.peak, memory)]
        return self.own if self.own in fitting else next(iter(fitting), None)


def estimate_splits(config: Config) -> SplitEstimate:
    """Return the memory of every split, between few that are estimated. Raises InputError without encoders' files."""
    encoders = encoder_shapes(config)
    training = config.training
    own, effective = training.batch_size, training.batch_size * training.gradient_accumulation_steps
    found = {
        size: estimate_step(config, encoders, batch_size=size, accumulates=size < effective)
        for size in sorted({1, own, max(1, effective // 2), effective})
    }
    live = live_size(TextWeights.of(config, encoders))
    points = [(size, float(memory.peak + live)) for size, memory in found.items()]
    splits = [
        EstimatedSplit(size, effective // size, interpolate(points, size))
        for size in range(effective, 0, -1)
        if effective % size == 0 and (not training.elastic_exact or (effective // size).bit_count() == 1)
    ]
    return SplitEstimate(found[own].parameters, splits, next(split for split in splits if split.batch_size == own))
