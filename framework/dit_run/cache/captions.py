"""Keeping states of captions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import torch

from dit_run.cache.build import Build, forecast
from dit_run.cache.encode import device_of, encode_captions
from dit_run.cache.read import CaptionCache, caption_key
from dit_run.cache.records import Records
from dit_run.cache.space import Space, Writer
from dit_run.devices import encoding_chunks
from dit_run.protocols import TextEncoder

__all__ = ["keep_captions"]


def keep_captions(build: Build, encoder: TextEncoder, captions: Iterable[str]) -> CaptionCache:
    """The cache of these captions and the empty one; those that it lacks are encoded now. Raises Stopped."""
    space = build.space("captions", encoder, {"max_length": encoder.max_length})
    wanted = {caption_key(caption): caption for caption in ("", *captions)}
    with build.alone(space):
        places = Records.open(space).find(list(wanted))
        _encode(build, encoder, space, [caption for caption, at in zip(wanted.values(), places, strict=True) if at < 0])
    return CaptionCache(
        Records.open(space),
        encoder.width,
        encoder.pooled_width,
        encoder.max_length,
        build.kept_dtype,
        partial(encode_captions, encoder, dtype=build.dtype),
    )


def _encode(build: Build, encoder: TextEncoder, space: Space, captions: Sequence[str]) -> None:
    build.check_room(_bytes(build, encoder, len(captions)))
    size, cut = encoding_chunks(device_of(encoder))[1], list[int]()
    with Writer(space, build.kept_dtype) as writer:
        for start in range(0, len(captions), size):
            chunk = captions[start : start + size]
            for caption, states in zip(chunk, encode_captions(encoder, chunk, build.dtype, cut.append), strict=True):
                writer.add(caption_key(caption), torch.cat([states.tokens.flatten(), states.pooled]))
            build.done("encoding captions", start + len(chunk), len(captions))
    if any(cut):
        build.notice(
            f"{sum(cut):,} of {len(captions):,} captions are longer than the {encoder.max_length} tokens that the text "
            "encoder takes; the model does not see the rest of them"
        )


def _bytes(build: Build, encoder: TextEncoder, count: int) -> int:
    return forecast(
        pictures=0,
        captions=count,
        latent_values=0,
        width=encoder.width,
        pooled_width=encoder.pooled_width,
        dtype=build.dtype,
    )
