"""Sizes of images that a run is trained on, and the one that it samples by default."""

from __future__ import annotations

from dit_run.data.aspect_buckets import Buckets, Size
from dit_run.settings import Config

__all__ = ["default_size", "trained_sizes"]


def trained_sizes(config: Config, unit: int) -> Buckets:
    """Return all sizes of a config; ``unit`` is the VAE's factor times the model's patch size."""
    return Buckets.joined([Buckets.of(choice.common, unit) for _, choice in config.datasets()])


def default_size(config: Config, unit: int) -> Size:
    """Return a square of ``data.image_size``; where buckets lack it, the trained size with the nearest aspect ratio."""
    square = config.data.common.image_size, config.data.common.image_size
    if not config.has_buckets:
        return square
    buckets = trained_sizes(config, unit)
    return buckets.sizes[int(buckets.nearest(*square)[0])]
