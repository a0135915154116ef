"""Trials of frozen encoders: the cost of filling the cache, and a fake cache as fast as a real one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from statistics import median
from typing import Any

import numpy as np
import torch

from dit_run.assembly.parts import Encoders
from dit_run.assembly.prepare import Data
from dit_run.cache.builder import cache_bytes
from dit_run.cache.caption_states import kept_tokens, state_bytes
from dit_run.cache.encoder_outputs import release
from dit_run.cache.open_cache import Cached, cacheable
from dit_run.compute.devices import encoding_chunks
from dit_run.compute.memory_meter import MemoryMeter
from dit_run.compute.timing import Clock, seconds_of
from dit_run.data.samples import Samples
from dit_run.data.visits import Visit
from dit_run.model.codec import LatentShape, device_of, encode_captions, encode_latents
from dit_run.model.conditioning import CaptionStates, FrozenCaptions
from dit_run.planning.measurements import CacheCost
from dit_run.protocols import ImageEncoder, TextEncoder
from dit_run.settings import Config

__all__ = ["EncodingTrials"]

COUNTED_CAPTIONS = 512
"""Captions whose tokens are counted (number)."""


@dataclass(frozen=True)
class EncodingTrials:
    """Trials of a config's encoders."""

    config: Config
    data: Data
    encoders: Encoders
    meter: MemoryMeter
    clock: Clock

    def run(self) -> tuple[Encoders, CacheCost, float]:
        """Return the encoders with a fake cache, the cost of the real one, and its peak memory (bytes).

        Encoders whose output a run keeps have given back their memory afterwards.
        """
        encoders = self.encoders
        keeps = cacheable(self.config, encoders.texts, encoders.vae)
        networks = encoders.features if keeps.features else {}
        if not (keeps.latents or networks or any(keeps.captions)):
            return encoders, CacheCost(), 0.0
        self.meter.reset()
        train, held_out = self.data.train, self.data.validation
        kept = [text for text, keep in zip(encoders.texts, keeps.captions, strict=True) if keep]
        costs = [self._try_text(text) for text in kept]
        used = [train] if held_out is None else [train, held_out]
        latents = self._try_images(encoders.vae, used) if keeps.latents else None
        features = {name: self._try_images(network, [train]) for name, network in networks.items()}
        costs += [each.cost for each in (latents, *features.values()) if each is not None]
        longest = encoders.state_format.longest
        states = tuple(
            _fake_states(text, longest(text.max_length)) if text in kept else None for text in encoders.texts
        )
        total = CacheCost(sum(each.size for each in costs), sum(each.seconds for each in costs))
        return replace(encoders, cached=_FakeCache(latents, states, features)), total, float(self.meter.peak)

    def _try_text(self, text: TextEncoder) -> CacheCost:
        """Return the approximate cost of the states of all captions."""
        train, held_out = self.data.train, self.data.validation or ()
        indices = train.indices[:COUNTED_CAPTIONS]
        seen = [caption for index in indices for caption in train.texts(int(index))]
        count = round(len(dict.fromkeys(seen)) / len(indices) * (len(train) + len(held_out))) + 1
        form, shown = self.encoders.state_format.computed_in(self.encoders.dtype), seen[:COUNTED_CAPTIONS]
        seconds = count * self._seconds_of_caption(text)
        release(text)
        tokens = kept_tokens(text, form, shown) / len(shown)
        return CacheCost(state_bytes(text, form, captions=count, tokens=tokens), seconds)

    def _try_images(self, encoder: ImageEncoder, samples: Sequence[Samples]) -> _FakeLatents:
        """Return fake outputs of an encoder of images, with the cost of those of all samples."""
        images = sum(each.mirrored_too() for each in samples)
        shape = LatentShape.of(encoder)(*self.data.train.of_largest_size().size_of(0))
        seconds, deviations = self._seconds_of_image(encoder)
        release(encoder)
        values = int(np.prod(shape)) if deviations else int(np.prod(shape)) // 2
        size = cache_bytes(self.encoders.dtype, images=images, latent_values=values)
        return _FakeLatents(shape, deviations, CacheCost(size, images * seconds))

    def _seconds_of_caption(self, text: TextEncoder) -> float:
        device, train = device_of(self.encoders.vae), self.data.train
        size = encoding_chunks(device)[1]
        shown = (visit.caption for visit in train.visits(range(min(4 * size, len(train)))))
        captions = list(islice(dict.fromkeys(shown), size))

        def encode() -> None:
            encode_captions(text, captions, self.encoders.dtype, self.encoders.state_format)

        return median(seconds_of(encode, device, clock=self.clock)) / len(captions)

    def _seconds_of_image(self, encoder: ImageEncoder) -> tuple[float, bool]:
        """Return the seconds of reading and encoding an image; True if outputs have a standard deviation."""
        device, train = device_of(encoder), self.data.train.of_largest_size()
        size = min(encoding_chunks(device)[0], len(train))

        def encode() -> bool:
            pixels = train.read(range(size), train.pixels).values
            images = torch.from_numpy(np.stack(pixels)).to(device)
            return encode_latents(encoder, images, self.encoders.dtype)[1] is not None

        deviations = encode()
        return median(seconds_of(encode, device, clock=self.clock)) / size, deviations


@dataclass(frozen=True)
class _FakeCache(Cached):
    """A cache of made-up records: neither memory nor time of a step depends on their values."""

    latents: Any = None
    captions: Any = ()
    features: Any = field(default_factory=dict)


@dataclass(frozen=True)
class _FakeLatents:
    shape: tuple[int, int, int]
    deviations: bool
    cost: CacheCost
    """That of the real outputs."""

    def find(self, visit: Visit) -> int:
        return visit.index

    def gather(self, found: Sequence[int]) -> torch.Tensor:
        return torch.full((len(found), 1 + self.deviations, *self.shape), 0.5)


@dataclass(frozen=True)
class _FakeStates:
    encoder: TextEncoder
    longest: int

    def __call__(self, captions: Sequence[str]) -> list[CaptionStates]:
        lengths = self.encoder.tokenize(captions).mask.sum(1).clamp(max=self.longest).tolist()
        pooled = torch.zeros(self.encoder.pooled_width)
        return [CaptionStates(torch.zeros(length, self.encoder.width), pooled) for length in lengths]


def _fake_states(text: TextEncoder, longest: int) -> FrozenCaptions:
    return FrozenCaptions(_FakeStates(text, longest), max_length=longest)
