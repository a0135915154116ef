"""Measurements of a probe: the memory and time of a config's parts on one device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["CacheCost", "Measurements", "SamplingCost", "interpolate"]


@dataclass(frozen=True)
class SamplingCost:
    """The cost of sampling images."""

    peaks: Sequence[tuple[int, float]]
    """(images at a time, peak memory in bytes)."""
    evaluation: float
    """Time of a sampling step of an image, guidance included (seconds)."""
    fixed: float
    """Time of an image apart from its sampling steps, mostly in the VAE's decoder (seconds)."""
    failed: int = 0
    """Images at a time that ran out of memory; 0 if none did (number)."""


@dataclass(frozen=True)
class CacheCost:
    """The cost of the cache of frozen encoders' output; zero without a cache."""

    size: int = 0
    """Size on the disk (bytes)."""
    seconds: float = 0.0
    """Time to fill it (seconds)."""


@dataclass(frozen=True)
class Measurements:
    """The measurements on one device in one process: bytes, and seconds of warm runs."""

    parameters: int
    """Parameters that train (number)."""
    peaks: Sequence[tuple[int, float]]
    """(batch size, peak memory of its training steps), rising."""
    passes: Sequence[tuple[int, float]]
    """(batch size, seconds of forward and backward)."""
    update: float
    """Time of clipping, update and averages in an optimizer step (seconds)."""
    data: float
    """Time of a sample in the loader and in encoders that work in every step (seconds)."""
    forward: float
    """Time of a sample's forward pass without gradients (seconds)."""
    sampling: SamplingCost
    encoding: float
    """Peak memory during the filling of the cache; 0 without a cache (bytes)."""
    checkpoint: int
    """Size on the disk (bytes)."""
    saving: float
    """Time that training waits for a checkpoint (seconds)."""
    cache: CacheCost
    gradients: float = 0.0
    """Size of the gradients on a level of the tree of ``training.elastic_exact``; 0 without it (bytes)."""


def interpolate(points: Sequence[tuple[int, float]], at: float) -> float:
    """Return the value on the broken line through points of rising place, extended beyond its ends.

    One point is a level line.
    """
    if len(points) == 1:
        return points[0][1]
    segments = list(pairwise(points))
    (left, low), (right, high) = next((pair for pair in segments if at <= pair[1][0]), segments[-1])
    return low + (high - low) * (at - left) / (right - left)
