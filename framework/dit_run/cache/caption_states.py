"""Caption states: encode the captions that the cache does not have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from dit_run.cache.builder import Build, cache_bytes
from dit_run.cache.lookup import CaptionCache, caption_key
from dit_run.cache.records import Records
from dit_run.cache.space import Space, Writer
from dit_run.compute.devices import encoding_chunks
from dit_run.model.codec import device_of, encode_captions
from dit_run.model.conditioning import BUCKET
from dit_run.protocols import TextEncoder

__all__ = ["CaptionWork"]

_COUNTED = 10_000
"""Number of captions whose tokens are counted, spread over all; it gives the mean with an error of about 1 %."""
_AT_A_TIME = 256
_CHUNKS = 8
"""Chunks of captions that are sorted by length together, so that most chunks are full."""


@dataclass(frozen=True)
class CaptionWork:
    """Captions to cache."""

    build: Build
    encoder: TextEncoder
    space: Space
    wanted: dict[bytes, str]
    """Distinct captions, by key."""

    @classmethod
    def of(cls, build: Build, encoder: TextEncoder, captions: Iterable[str], code: str = "") -> CaptionWork:
        """Collect these captions and the empty one. ``code`` is the digest of the encoder's plugin."""
        space = build.space("captions", encoder, code, {"max_length": encoder.max_length, "padding": BUCKET})
        return cls(build, encoder, space, {caption_key(caption): caption for caption in ("", *captions)})

    def missing_bytes(self) -> int:
        """Return the size of the missing states (bytes)."""
        captions = self._missing()
        tokens, widths = self._mean_tokens(captions), (self.encoder.width, self.encoder.pooled_width)
        return cache_bytes(
            self.build.dtype, captions=len(captions), tokens=tokens, width=widths[0], pooled_width=widths[1]
        )

    def keep(self) -> CaptionCache:
        """Encode the missing captions and return the cache. Raises Stopped."""
        with self.build.alone(self.space):
            self._encode(self._missing())
        return CaptionCache(
            Records.open(self.space),
            self.encoder.width,
            self.encoder.pooled_width,
            self.encoder.max_length,
            self.build.stored_dtype,
            partial(encode_captions, self.encoder, dtype=self.build.dtype),
            len(self.wanted),
        )

    def _missing(self) -> list[str]:
        places = Records.open(self.space).find(list(self.wanted))
        return [caption for caption, at in zip(self.wanted.values(), places, strict=True) if at < 0]

    def _mean_tokens(self, captions: Sequence[str]) -> float:
        shown = captions[:: max(1, len(captions) // _COUNTED)]
        chunks = (shown[start : start + _AT_A_TIME] for start in range(0, len(shown), _AT_A_TIME))
        return sum(int(self.encoder.tokenize(chunk).mask.sum()) for chunk in chunks) / max(1, len(shown))

    def _encode(self, captions: Sequence[str]) -> None:
        encoder, build = self.encoder, self.build
        if captions:
            self.space.check_writable()
        size = _CHUNKS * encoding_chunks(device_of(encoder))[1]
        with Writer(self.space, build.stored_dtype) as writer:
            for start in range(0, len(captions), size):
                chunk = captions[start : start + size]
                for caption, states in zip(chunk, encode_captions(encoder, chunk, build.dtype), strict=True):
                    writer.add(caption_key(caption), torch.cat([states.tokens.flatten(), states.pooled]))
                build.done("encoding captions", start + len(chunk), len(captions))
