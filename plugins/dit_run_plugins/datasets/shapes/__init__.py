"""Captioned shapes: images of one or two coloured shapes, painted when needed, each a function of (seed, index).

The dataset needs no files. :mod:`dit_run_plugins.metrics.shapes` measures exactly how well images follow such captions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dit_run.config.effects import without_effect
from dit_run.options import NonNegativeInt, PositiveInt, Probability
from dit_run.problems import Problem
from dit_run.protocols import RuleContext

__all__ = ["Shapes", "painted_images"]


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Coloured shapes with exact captions, painted when needed: no files, any size."""

    seed: NonNegativeInt = 0
    """Image i depends on this seed and i only."""
    size: PositiveInt = 100_000
    """Number of images: indices 0 to size - 1. Scores use the indices after them."""
    held_out_pairs: Probability = 0.0
    """Share of the 32 (colour, shape) pairs that no image shows, to measure how well a model combines what it knows."""


def painted_images(context: RuleContext) -> Iterator[Problem]:
    """Report the written options that only images from files need."""
    for key in ("crop", "alpha_background", "on_bad_sample"):
        path = (*context.path, key)
        if path in context.written:
            yield without_effect(path, "shapes are painted, square and without transparency")
