"""Caption states: encode the captions that the cache does not have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dit_run.cache.builder import Build, cache_bytes
from dit_run.cache.lookup import CaptionCache, caption_key
from dit_run.cache.records import CurrentRecords, Records
from dit_run.cache.space import Space, Writer
from dit_run.cache.space_index import keys_array
from dit_run.compute.devices import encoding_chunks
from dit_run.model.codec import device_of, encode_captions
from dit_run.model.conditioning import BUCKET, CaptionStates
from dit_run.model.state_format import StateFormat
from dit_run.protocols import TextEncoder

__all__ = ["CaptionWork", "caption_cache", "caption_space", "kept_tokens", "state_bytes"]

_COUNTED = 10_000
"""Number of captions whose tokens are counted, spread over all; it gives the mean with an error of about 1 %."""
_AT_A_TIME = 256
_ENCODING = "encoding captions"
_CHUNKS = 8
"""Chunks of captions that are sorted by length together, so that most chunks are full."""


@dataclass(frozen=True)
class CaptionWork:
    """Captions to cache."""

    build: Build
    encoder: TextEncoder
    space: Space
    captions: Sequence[str]
    """Distinct captions."""
    keys: NDArray[np.uint8]
    """Key of each, [n, 32]."""
    form: StateFormat
    """Precision and number of tokens of the stored states."""
    records: CurrentRecords
    """The states that are stored."""

    @classmethod
    def of(
        cls,
        build: Build,
        encoder: TextEncoder,
        captions: Iterable[str],
        code: str = "",
        form: StateFormat = StateFormat(),  # noqa: B008 (never changed)
    ) -> CaptionWork:
        """Collect these captions and the empty one. ``code`` is the digest of the encoder's plugin."""
        form = form.computed_in(build.dtype)
        space = caption_space(build, encoder, code, form)
        distinct = list(dict.fromkeys(("", *captions)))
        keys = keys_array([caption_key(caption) for caption in distinct])
        return cls(build, encoder, space, distinct, keys, form, CurrentRecords(space))

    def missing_bytes(self) -> int:
        """Return the size of the missing states (bytes)."""
        captions = self._missing()
        return state_bytes(self.encoder, self.form, captions=len(captions), tokens=self._mean_tokens(captions))

    def keep(self) -> CaptionCache:
        """Encode the missing captions and return the cache. Raises Stopped."""
        if self.build.any(bool(self._missing())):
            with self.build.alone(self.space):  # another run may have encoded them in the meantime
                self._encode(self._missing())
        self.records.announce(self.build.by_leader(self.records.store_index))
        return caption_cache(self.build, self.encoder, self.form, self.records(), len(self.captions))

    def _missing(self) -> list[str]:
        return [self.captions[place] for place in self.build.by_leader(self._absent)]

    def _absent(self) -> list[int]:
        """Return the places of the captions without states."""
        found: list[int] = np.flatnonzero(self.records.find(self.keys) < 0).tolist()
        return found

    def _states(self, captions: Sequence[str]) -> list[CaptionStates]:
        return _encoded(self.build, self.encoder, self.form, captions)

    def _mean_tokens(self, captions: Sequence[str]) -> float:
        shown = captions[:: max(1, len(captions) // _COUNTED)]
        chunks = (shown[start : start + _AT_A_TIME] for start in range(0, len(shown), _AT_A_TIME))
        return sum(kept_tokens(self.encoder, self.form, chunk) for chunk in chunks) / max(1, len(shown))

    def _encode(self, captions: Sequence[str]) -> None:
        """Encode these captions, each process a part of them."""
        mine = self.build.team.part(captions)
        for shards in self.build.team.values(self.build.together(_ENCODING, lambda: self._written(mine))):
            self.records.announce(shards)

    def _written(self, captions: Sequence[str]) -> list[str]:
        """Encode captions; return the file names of the shards that were written."""
        encoder, build, form = self.encoder, self.build, self.form
        if captions:
            self.space.check_writable()
        size = _CHUNKS * encoding_chunks(device_of(encoder))[1]
        with Writer(self.space, form.stored(build.dtype)) as writer:
            for start in range(0, len(captions), size):
                chunk = captions[start : start + size]
                for caption, states in zip(chunk, self._states(chunk), strict=True):
                    writer.add(caption_key(caption), form.record(states))
                build.done(_ENCODING, start + len(chunk), len(captions))
        return writer.names


def caption_space(build: Build, encoder: TextEncoder, code: str, form: StateFormat) -> Space:
    """Return the space of an encoder's states in a format. ``code`` is the digest of the encoder's plugin."""
    return build.space("captions", encoder, code, _settings(build, encoder, form))


def caption_cache(build: Build, encoder: TextEncoder, form: StateFormat, records: Records, count: int) -> CaptionCache:
    """Return the cache of a space that has the states of ``count`` captions of a run."""
    live = partial(_encoded, build, encoder, form)
    return CaptionCache(records, encoder.width, encoder.pooled_width, encoder.max_length, form, live, count)


def _encoded(build: Build, encoder: TextEncoder, form: StateFormat, captions: Sequence[str]) -> list[CaptionStates]:
    return encode_captions(encoder, captions, build.dtype, form, to=torch.device("cpu"))


def state_bytes(encoder: TextEncoder, form: StateFormat, *, captions: int, tokens: float) -> int:
    """Return the size of the states of captions in a cache (bytes); ``tokens`` is the mean number that have states."""
    width, pooled_width = form.packed_width(encoder.width), form.packed_width(encoder.pooled_width)
    return cache_bytes(form.dtype, captions=captions, tokens=tokens, width=width, pooled_width=pooled_width)


def kept_tokens(encoder: TextEncoder, form: StateFormat, captions: Sequence[str]) -> int:
    """Return the number of tokens of all these captions that have states."""
    return int(encoder.tokenize(captions).mask.sum(1).clamp(max=form.longest(encoder.max_length)).sum())


def _settings(build: Build, encoder: TextEncoder, form: StateFormat) -> dict[str, Any]:
    """Return the settings of a space, those of a format only where it differs from that of computation."""
    stored, longest = form.stored(build.dtype), form.longest(encoder.max_length)
    return {
        "max_length": encoder.max_length,
        "padding": BUCKET,
        **({"stored": str(stored).removeprefix("torch.")} if stored != build.stored_dtype else {}),
        **({"max_tokens": longest} if longest != encoder.max_length else {}),
    }
