"""Frozen encoders and decoders at work: in chunks of a fixed size and one precision, whether cached or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from dit_run.compute.devices import encoding_chunks
from dit_run.compute.out_of_memory import translate_working
from dit_run.model.conditioning import (
    CaptionStates,
    EncoderCaptions,
    FrozenCaptions,
    LiveCaptions,
    fitted,
    padded_length,
)
from dit_run.model.state_format import StateFormat
from dit_run.protocols import VAE, TextEncoder, Tokens

__all__ = [
    "ENCODING_VERSION",
    "LatentShape",
    "caption_conditions",
    "decode_latents",
    "device_of",
    "encode_captions",
    "encode_latents",
]

ENCODING_VERSION = 1
"""Part of every cache key; to be raised by hand when encoding gives other numbers."""

_Outputs = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class LatentShape:
    """The shapes of a VAE's latents. Picklable, unlike the VAE."""

    channels: int
    factor: int
    """Pixels per latent position, along height and width."""

    @classmethod
    def of(cls, vae: VAE) -> LatentShape:
        """Return the shapes of this VAE's latents."""
        return cls(vae.latent_channels, vae.factor)

    def __call__(self, height: int, width: int) -> tuple[int, int, int]:
        """Return the shape (c, h, w) of the latents of an image of this size in pixels."""
        return self.channels, height // self.factor, width // self.factor


def device_of(module: Any) -> torch.device:
    """Return the device of a module's tensors, the CPU for a module without tensors."""
    tensor = next(chain(module.parameters(), module.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


@torch.no_grad()
def encode_latents(vae: VAE, images: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor | None]:
    """Return mean and standard deviation, float32 [n, c, h, w], of the latents of images uint8 [n, H, W, 3].

    The standard deviation is None for a VAE without a posterior. ``dtype`` is that of autocast, and values are rounded
    to it; None computes in float32. A chunk that overflows ``dtype`` is encoded again in float32.
    """
    pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1
    if not vae.cacheable:
        return vae.encode(pixels)
    with translate_working("encoding images", "set vae.use_slicing or a smaller data.image_size"):
        mean, deviation = _in_chunks(vae.encode, pixels, dtype)
    return _rounded(mean, dtype), None if deviation is None else _rounded(deviation, dtype)


@torch.no_grad()
def decode_latents(vae: VAE, latents: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return images float32 [n, 3, H, W] in [-1, 1] from latents [n, c, h, w].

    ``dtype`` is that of autocast; None computes in float32. A chunk that overflows it is decoded again in float32.
    """
    return _in_chunks(lambda chunk: (vae.decode(chunk), None), latents.float(), dtype)[0]


def _in_chunks(compute: Callable[[Tensor], _Outputs], values: Tensor, dtype: torch.dtype | None) -> _Outputs:
    """Return the outputs for all chunks of the values, joined."""
    chunks = torch.split(values, encoding_chunks(values.device)[0])
    first, second = zip(*(_without_overflow(compute, chunk, dtype) for chunk in chunks), strict=True)
    return torch.cat(first), None if second[0] is None else torch.cat(second)


def _without_overflow(compute: Callable[[Tensor], _Outputs], chunk: Tensor, dtype: torch.dtype | None) -> _Outputs:
    """Return the outputs of autocast to ``dtype``, or those of float32 where some of them are not finite."""
    with torch.autocast(chunk.device.type, dtype=dtype, enabled=dtype is not None):
        outputs = compute(chunk)
    if dtype is None or all(bool(output.isfinite().all()) for output in outputs if output is not None):
        return outputs
    with torch.autocast(chunk.device.type, enabled=False):
        return compute(chunk)


@torch.no_grad()
def encode_captions(
    encoder: TextEncoder,
    captions: Sequence[str],
    dtype: torch.dtype | None = None,
    form: StateFormat = StateFormat(),  # noqa: B008 (never changed)
) -> list[CaptionStates]:
    """Return the states of each caption on the CPU, float32, real tokens only. Equal captions are encoded once.

    A caption is encoded with others of its padded length, which follows from its own tokens: its states do not depend
    on the other captions. ``dtype`` is that of autocast; None computes in float32, and so does a chunk that overflows
    ``dtype``. States have the tokens of ``form`` and are rounded to its dtype, by default that of autocast. Raises
    InputError for states that are too large for it.
    """
    device, distinct, form = device_of(encoder), list(dict.fromkeys(captions)), form.computed_in(dtype)
    if not distinct:
        return []
    tokens, size = encoder.tokenize(distinct), encoding_chunks(device)[1]
    known: dict[int, CaptionStates] = {}
    for length, rows in _rows_by_length(tokens, encoder.max_length).items():
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            ids, mask = (fitted(each[chunk], length).to(device) for each in (tokens.ids, tokens.mask))
            known |= zip(chunk, map(form.applied, _caption_chunk(encoder, ids, mask, dtype)), strict=True)
    states = dict(zip(distinct, (known[row] for row in range(len(distinct))), strict=True))
    return [states[caption] for caption in captions]


def caption_conditions(encoder: TextEncoder, dtype: torch.dtype | None, form: StateFormat) -> EncoderCaptions:
    """Return the step from captions to conditions: token ids for an encoder that trains, else states encoded now."""
    if encoder.trainable:
        return LiveCaptions(encoder)
    encode = partial(encode_captions, encoder, dtype=dtype, form=form)
    return FrozenCaptions(encode, max_length=form.longest(encoder.max_length))


def _rows_by_length(tokens: Tokens, longest: int) -> dict[int, list[int]]:
    """Return the rows of captions of the same padded length, which follows from the caption alone."""
    rows: dict[int, list[int]] = {}
    for row, count in enumerate(tokens.mask.sum(1).tolist()):
        rows.setdefault(padded_length(count, longest), []).append(row)
    return rows


def _caption_chunk(
    encoder: TextEncoder, ids: Tensor, mask: Tensor, dtype: torch.dtype | None
) -> Iterator[CaptionStates]:
    def encode(ids: Tensor) -> tuple[Tensor, Tensor]:
        states, pooled = encoder(ids, mask)
        return torch.where(mask[..., None], states, 0.0), pooled

    states, pooled = _without_overflow(encode, ids, dtype)
    assert pooled is not None
    states, pooled = states.float().cpu(), pooled.float().cpu()
    for row, length in enumerate(mask.sum(1).tolist()):
        yield CaptionStates(states[row, :length], pooled[row])


def _rounded(values: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Return the values as contiguous float32, rounded to ``dtype``."""
    return (values if dtype is None else values.to(dtype)).float().contiguous()
