"""Encoding by frozen encoders: one function for what is cached and what is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from dit_run.compute.devices import encoding_chunks
from dit_run.compute.out_of_memory import translate_working
from dit_run.model.conditioning import CaptionStates
from dit_run.protocols import VAE, TextEncoder

__all__ = ["ENCODING_VERSION", "decode_latents", "device_of", "encode_captions", "encode_latents"]

ENCODING_VERSION = 1
"""Raised by hand whenever encoding gives other numbers; part of every cache key."""


def device_of(module: Any) -> torch.device:
    """Where a module's tensors are; the CPU for one without any."""
    tensor = next(chain(module.parameters(), module.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


@torch.no_grad()
def encode_latents(vae: VAE, images: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor | None]:
    """Mean and standard deviation, float32 [n, c, h, w], of pictures uint8 [n, H, W, 3]; None without a posterior.

    ``dtype`` is that of autocast: values are rounded to it, None works in float32. A chunk that overflows it is
    encoded again in float32.
    """
    pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1
    if not vae.cacheable:
        return vae.encode(pixels)
    with translate_working("encoding images", "set vae.use_slicing or a smaller data.image_size"):
        parts = [_encode_chunk(vae, chunk, dtype) for chunk in torch.split(pixels, encoding_chunks(images.device)[0])]
    spreads = [spread for _, spread in parts if spread is not None]
    return torch.cat([mean for mean, _ in parts]), torch.cat(spreads) if spreads else None


def _encode_chunk(vae: VAE, pixels: Tensor, dtype: torch.dtype | None) -> tuple[Tensor, Tensor | None]:
    with torch.autocast(pixels.device.type, dtype=dtype, enabled=dtype is not None):
        encoded = vae.encode(pixels)
    if dtype is not None and not all(bool(part.isfinite().all()) for part in encoded if part is not None):
        with torch.autocast(pixels.device.type, enabled=False):
            encoded = vae.encode(pixels)
    mean, spread = encoded
    return _rounded(mean, dtype), None if spread is None else _rounded(spread, dtype)


@torch.no_grad()
def encode_captions(
    encoder: TextEncoder,
    captions: Sequence[str],
    dtype: torch.dtype | None = None,
    cut: Callable[[int], object] = lambda count: None,
) -> list[CaptionStates]:
    """States of each caption on the CPU, float32, real tokens only; each distinct one is encoded once.

    Captions are padded to the encoder's greatest length, so that states do not depend on their neighbours. ``dtype``
    is that of autocast: values are rounded to it, None works in float32. ``cut`` is told of the distinct captions that
    are longer than the encoder takes, chunk by chunk.
    """
    device = device_of(encoder)
    distinct, size = list(dict.fromkeys(captions)), encoding_chunks(device)[1]
    states = chain.from_iterable(
        _caption_chunk(encoder, distinct[start : start + size], device, dtype, cut)
        for start in range(0, len(distinct), size)
    )
    known = dict(zip(distinct, states, strict=True))
    return [known[caption] for caption in captions]


def _caption_chunk(
    encoder: TextEncoder,
    captions: Sequence[str],
    device: torch.device,
    dtype: torch.dtype | None,
    cut: Callable[[int], object],
) -> Iterator[CaptionStates]:
    tokens = encoder.tokenize(captions)
    cut(tokens.truncated)
    room = (0, encoder.max_length - tokens.ids.shape[1])
    ids, mask = (torch.nn.functional.pad(each, room).to(device) for each in (tokens.ids, tokens.mask))
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        states, pooled = encoder(ids, mask)
    states, pooled = _rounded(states, dtype).cpu(), _rounded(pooled, dtype).cpu()
    for row, length in enumerate(tokens.mask.sum(1).tolist()):
        yield CaptionStates(states[row, :length], pooled[row])


def _rounded(values: Tensor, dtype: torch.dtype | None) -> Tensor:
    return (values if dtype is None else values.to(dtype)).float().contiguous()


@torch.no_grad()
def decode_latents(vae: VAE, latents: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Pictures float32 [n, 3, H, W] in [-1, 1] for latents [n, c, h, w].

    ``dtype`` is that of autocast, None works in float32. A chunk that overflows it is decoded again in float32.
    """
    chunks = torch.split(latents.float(), encoding_chunks(latents.device)[0])
    return torch.cat([_decode_chunk(vae, chunk, dtype) for chunk in chunks])


def _decode_chunk(vae: VAE, latents: Tensor, dtype: torch.dtype | None) -> Tensor:
    with torch.autocast(latents.device.type, dtype=dtype, enabled=dtype is not None):
        pixels = vae.decode(latents)
    if dtype is None or bool(pixels.isfinite().all()):
        return pixels
    with torch.autocast(latents.device.type, enabled=False):
        return vae.decode(latents)
