"""Frozen encoders and decoders at work: in chunks of a fixed size and one precision, whether cached or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from dit_run.compute.devices import encoding_chunks, move
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
from dit_run.protocols import VAE, ImageEncoder, TextEncoder

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
    def of(cls, vae: ImageEncoder) -> LatentShape:
        """Return the shapes of this encoder's latents."""
        return cls(vae.latent_channels, vae.factor)

    def __call__(self, height: int, width: int) -> tuple[int, int, int]:
        """Return the shape (c, h, w) of the latents of an image of this size in pixels."""
        return self.channels, height // self.factor, width // self.factor


def device_of(module: Any) -> torch.device:
    """Return the device of a module's tensors, the CPU for a module without tensors."""
    tensor = next(chain(module.parameters(), module.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


@torch.no_grad()
def encode_latents(vae: ImageEncoder, images: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor | None]:
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
    first, second = zip(*_without_overflow(compute, [(chunk,) for chunk in chunks], dtype), strict=True)
    return torch.cat(first), None if second[0] is None else torch.cat(second)


def _without_overflow(
    compute: Callable[..., _Outputs], chunks: Sequence[tuple[Tensor, ...]], dtype: torch.dtype | None
) -> list[_Outputs]:
    """Return the outputs of autocast to ``dtype`` for each chunk's arguments; those of float32 where it overflows.

    bfloat16 has the range of float32, so only float16 overflows. The host reads once whether any chunk did, since each
    reading waits for the device.
    """
    device = chunks[0][0].device.type
    with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
        outputs = [compute(*chunk) for chunk in chunks]
    if dtype is not torch.float16:
        return outputs
    finite = torch.stack([_finite(each) for each in outputs]).tolist()
    with torch.autocast(device, enabled=False):
        return [each if whole else compute(*chunk) for each, chunk, whole in zip(outputs, chunks, finite, strict=True)]


def _finite(outputs: _Outputs) -> Tensor:
    """Return a bool of the device: True where all values are finite."""
    return torch.stack([output.isfinite().all() for output in outputs if output is not None]).all()


@torch.no_grad()
def encode_captions(
    encoder: TextEncoder,
    captions: Sequence[str],
    dtype: torch.dtype | None = None,
    form: StateFormat = StateFormat(),  # noqa: B008 (never changed)
    *,
    to: torch.device | None = None,
) -> list[CaptionStates]:
    """Return the states of each caption, float32, real tokens only. Equal captions are encoded once.

    They are on the encoder's device, where the host does not wait for them, or on that of ``to``.

    A caption is encoded with others of its padded length, which follows from its own tokens: its states do not depend
    on the other captions. ``dtype`` is that of autocast; None computes in float32, and so does a chunk that overflows
    ``dtype``. States have the tokens of ``form`` and are rounded to its dtype, by default that of autocast. Raises
    InputError for states that are too large for it.
    """
    device, distinct, form = device_of(encoder), list(dict.fromkeys(captions)), form.computed_in(dtype)
    if not distinct:
        return []
    tokens, size = encoder.tokenize(distinct), encoding_chunks(device)[1]
    lengths, given = tokens.mask.sum(1).tolist(), dict[int, CaptionStates]()
    rows = list(_equally_long(lengths, encoder.max_length, size))
    chunks = [
        tuple(move(fitted(each[chunk], length), device) for each in (tokens.ids, tokens.mask)) for length, chunk in rows
    ]
    encoded = _without_overflow(partial(_caption_chunk, encoder), chunks, dtype)
    for (_, chunk), (states, pooled) in zip(rows, encoded, strict=True):
        assert pooled is not None
        states, pooled = states.float().to(to or device), pooled.float().to(to or device)
        given |= {row: CaptionStates(states[place, : lengths[row]], pooled[place]) for place, row in enumerate(chunk)}
    by_caption = dict(zip(distinct, form.applied([given[row] for row in range(len(distinct))]), strict=True))
    return [by_caption[caption] for caption in captions]


def caption_conditions(encoder: TextEncoder, dtype: torch.dtype | None, form: StateFormat) -> EncoderCaptions:
    """Return the step from captions to conditions: token ids for an encoder that trains, else states encoded now."""
    if encoder.trainable:
        return LiveCaptions(encoder)
    encode = partial(encode_captions, encoder, dtype=dtype, form=form)
    return FrozenCaptions(encode, max_length=form.longest(encoder.max_length))


def _equally_long(lengths: Sequence[int], longest: int, size: int) -> Iterator[tuple[int, list[int]]]:
    """Yield a padded length, which follows from a caption alone, and at most ``size`` rows of captions that have it."""
    rows: dict[int, list[int]] = {}
    for row, count in enumerate(lengths):
        rows.setdefault(padded_length(count, longest), []).append(row)
    for length, equal in rows.items():
        for start in range(0, len(equal), size):
            yield length, equal[start : start + size]


def _caption_chunk(encoder: TextEncoder, ids: Tensor, mask: Tensor) -> _Outputs:
    states, pooled = encoder(ids, mask)
    return torch.where(mask[..., None], states, 0.0), pooled


def _rounded(values: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Return the values as contiguous float32, rounded to ``dtype``."""
    return (values if dtype is None else values.to(dtype)).float().contiguous()
