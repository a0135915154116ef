"""Estimated times of a run on many GPUs apart from its steps: saving, and filling and opening the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dit_run.assembly.parts import Encoders
from dit_run.cache.builder import cache_bytes
from dit_run.cache.caption_states import state_bytes
from dit_run.cache.open_cache import cacheable
from dit_run.model.conditioning import padded_length
from dit_run.planning.assumptions import Assumptions
from dit_run.planning.cluster_estimate import Cluster
from dit_run.planning.text_weights import TextWeights
from dit_run.settings import Config

__all__ = ["CacheEstimate", "CacheNeeds", "SaveTimes", "estimate_cache", "estimate_cache_needs", "save_times"]

PIXEL_FLOPS = 4.2e6
"""Operations for a pixel in the encoder of Stable Diffusion's autoencoder: 0.27e12 for an image of 256 x 256."""
LOOKED_UP = 2e6
"""Records that a process finds in a mapped index (a second)."""


@dataclass(frozen=True)
class SaveTimes:
    """The times of a checkpoint (seconds)."""

    stall: float
    """Time that training waits, while contents are copied to the memory of the host (``training.async_save``)."""
    written: float
    """Time until it is on the disk; training waits for that long without ``training.async_save``."""


def save_times(size: float, shards: int, assumed: Assumptions) -> SaveTimes:
    """Return the times of a checkpoint of this size (bytes), which the processes of one replica write together."""
    part = size / shards
    return SaveTimes(part / assumed.host, max(part / assumed.writer, size / assumed.storage))


@dataclass(frozen=True)
class CacheNeeds:
    """The cache's share of one image with its caption."""

    size: float = 0.0
    """Size of its records (bytes)."""
    flops: float = 0.0
    """Operations to encode it."""
    records: int = 0
    """Number of its records."""


@dataclass(frozen=True)
class CacheEstimate:
    """The cache of all images."""

    size: float
    """Size (bytes)."""
    filling: float
    """Time to fill it by all GPUs (seconds)."""
    opening: float
    """Time to open it when it is full (seconds)."""


def estimate_cache_needs(
    config: Config, encoders: Encoders, texts: Sequence[TextWeights | None], assumed: Assumptions
) -> CacheNeeds:
    """Return the cache's share of an image of ``data.image_size`` in a config. No data are read."""
    keeps, side = cacheable(config, encoders.texts, encoders.vae), config.data.common.image_size
    size, flops, records = 0.0, 0.0, 0
    if keeps.latents:
        records = 1 + config.data.common.random_flip
        channels, rows, columns = encoders.latent_shape(side, side)
        size = cache_bytes(encoders.dtype, images=records, latent_values=channels * rows * columns)
        flops = records * PIXEL_FLOPS * side**2
    form = encoders.state_format.computed_in(encoders.dtype)
    for text, weights, kept in zip(encoders.texts, texts, keeps.captions, strict=True):
        if kept and weights is not None:
            tokens = min(assumed.tokens, form.longest(text.max_length))
            size += state_bytes(text, form, captions=1, tokens=tokens)
            flops += 2 * weights.parameters * padded_length(round(assumed.tokens), text.max_length)
            records += 1
    return CacheNeeds(size, flops, records)


def estimate_cache(needs: CacheNeeds, cluster: Cluster) -> CacheEstimate:
    """Return the cache of the assumed number of images; opening does not depend on the number of GPUs."""
    assumed = cluster.assumed
    size = needs.size * assumed.images
    encoding = needs.flops * assumed.images / (assumed.flops * cluster.gpus)
    return CacheEstimate(size, max(encoding, size / assumed.storage), needs.records * assumed.images / LOOKED_UP)
