"""Encoders tried out: what filling the cache takes, and stand-ins that are as quick as a cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import median
from typing import Any

import numpy as np
import torch

from dit_run.assembly.parts import Encoders
from dit_run.assembly.prepare import Data
from dit_run.cache.builder import cache_bytes
from dit_run.cache.open_cache import Cached, cacheable, release
from dit_run.compute.devices import encoding_chunks
from dit_run.compute.memory_meter import MemoryMeter
from dit_run.compute.timing import seconds_of
from dit_run.data.samples import Visit
from dit_run.model.codec import device_of, encode_captions, encode_latents
from dit_run.model.conditioning import CaptionStates, FrozenCaptions
from dit_run.planning.forecast import Cache
from dit_run.protocols import TextEncoder
from dit_run.settings import Config

__all__ = ["try_encoding"]

LOOKED_AT = 512
"""Captions whose tokens are counted."""


def try_encoding(config: Config, data: Data, encoders: Encoders, meter: MemoryMeter) -> tuple[Encoders, Cache, float]:
    """The encoders, with stand-ins as quick as a cache for what is kept; what the cache takes; the peak memory."""
    keeps_text, keeps_latents = cacheable(config, encoders.text, encoders.vae)
    if not (keeps_text or keeps_latents):
        return encoders, Cache(), 0.0
    meter.reset()
    pictures = sum(len(samples) for samples in (data.train, data.validation) if samples is not None)
    pictures *= 1 + data.train.common.random_flip
    size = config.data.common.image_size
    shape = encoders.latent_shape(size, size)
    seconds, latent_values, tokens, captions = 0.0, 0, 0.0, 0
    latents: Any = None
    states: Any = None
    if keeps_text:
        captions, tokens = _captions(data, encoders.text)
        seconds += captions * _caption_seconds(data, encoders)
        states = FrozenCaptions(_States(encoders.text), max_length=encoders.text.max_length)
        release(encoders.text)
    if keeps_latents:
        taken, spreads = _picture_seconds(data, encoders)
        seconds += pictures * taken
        latent_values = int(np.prod(shape)) if spreads else int(np.prod(shape)) // 2
        latents = _Latents(shape, spreads)
        release(encoders.vae)
    size_of_cache = cache_bytes(
        images=pictures if keeps_latents else 0,
        captions=captions,
        latent_values=latent_values,
        width=encoders.text.width,
        pooled_width=encoders.text.pooled_width,
        dtype=encoders.dtype,
        tokens=tokens,
    )
    stand_ins = _StandIns(latents, states)
    return replace(encoders, cached=stand_ins), Cache(size_of_cache, seconds), float(meter.peak)


@dataclass(frozen=True)
class _StandIns(Cached):
    """A cache whose records are made up: neither memory nor time of a step depends on their values."""

    latents: Any = None
    captions: Any = None


@dataclass(frozen=True)
class _Latents:
    shape: tuple[int, int, int]
    spreads: bool

    def find(self, visit: Visit) -> int:
        return visit.index

    def gather(self, found: Sequence[int]) -> torch.Tensor:
        return torch.full((len(found), 1 + self.spreads, *self.shape), 0.5)


@dataclass(frozen=True)
class _States:
    encoder: TextEncoder

    def __call__(self, captions: Sequence[str]) -> list[CaptionStates]:
        lengths = self.encoder.tokenize(captions).mask.sum(1).tolist()
        pooled = torch.zeros(self.encoder.pooled_width)
        return [CaptionStates(torch.zeros(length, self.encoder.width), pooled) for length in lengths]


def _captions(data: Data, text: TextEncoder) -> tuple[int, float]:
    """How many captions the samples have, about, and the mean number of their tokens."""
    indices = data.train.indices[:LOOKED_AT]
    shown = [caption for index in indices for caption in data.dataset[int(index)].captions]
    total = len(data.train) + (len(data.validation) if data.validation is not None else 0)
    count = round(len(dict.fromkeys(shown)) / len(indices) * total) + 1
    return count, float(text.tokenize(shown[:LOOKED_AT]).mask.sum(1).float().mean())


def _caption_seconds(data: Data, encoders: Encoders) -> float:
    size = encoding_chunks(device_of(encoders.vae))[1]
    shown = (visit.caption for visit in data.train.visits(range(min(4 * size, len(data.train)))))
    captions = list(islice(dict.fromkeys(shown), size))
    device = device_of(encoders.vae)
    return median(seconds_of(lambda: encode_captions(encoders.text, captions, encoders.dtype), device)) / len(captions)


def _picture_seconds(data: Data, encoders: Encoders) -> tuple[float, bool]:
    """Of reading and encoding a picture; whether latents have a standard deviation."""
    size = min(encoding_chunks(device_of(encoders.vae))[0], len(data.train))

    def encode() -> bool:
        pixels = data.train.read(range(size), data.train.pixels).values
        images = torch.from_numpy(np.stack(pixels)).to(device_of(encoders.vae))
        return encode_latents(encoders.vae, images, encoders.dtype)[1] is not None

    spreads = encode()
    return median(seconds_of(encode, device_of(encoders.vae))) / size, spreads
