"""Captioned shapes: images of one or two coloured shapes, painted when needed, each a function of (seed, index).

The dataset needs no files. :mod:`dit_run_plugins.metrics.shapes` measures exactly how well images follow such captions.
"""

from __future__ import annotations

from dataclasses import dataclass

from dit_run.options import NonNegativeInt, PositiveInt, Probability

__all__ = ["Shapes"]


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Coloured shapes with exact captions, painted when needed: no files, any size."""

    seed: NonNegativeInt = 0
    """Image i depends on this seed and i only."""
    size: PositiveInt = 100_000
    """Number of images: indices 0 to size - 1. Scores use the indices after them."""
    held_out_pairs: Probability = 0.0
    """Share of the 32 (colour, shape) pairs that no image shows, to measure how well a model combines what it knows."""
