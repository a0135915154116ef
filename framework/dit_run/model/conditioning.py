"""Captions as the model's conditions: token ids for an encoder that trains, states for one that is frozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from dit_run.compute.devices import move
from dit_run.protocols import TextEncoder, TextStates

__all__ = [
    "BUCKET",
    "CaptionStates",
    "Conditions",
    "EncoderCaptions",
    "FrozenCaptions",
    "LiveCaptions",
    "SeveralCaptions",
    "Text",
    "TextIds",
    "fitted",
    "joined",
    "moved",
    "of_encoders",
    "padded_length",
    "with_tensors",
]

BUCKET = 16
"""Texts are padded to multiples of this number of tokens, so that few shapes occur."""


class TextIds(NamedTuple):
    """Captions for a text encoder that trains: it is part of the forward pass."""

    ids: Tensor
    """int64 [n, l]."""
    mask: Tensor
    """bool [n, l]."""
    null: Tensor
    """bool [n], True where the caption was dropped."""


class CaptionStates(NamedTuple):
    """The states of one caption from a frozen encoder, real tokens only, on the encoder's device."""

    tokens: Tensor
    """float [l, d]."""
    pooled: Tensor
    """float [pooled_width]."""


Text = TextStates | TextIds | tuple[TextStates | TextIds, ...]
"""The conditions of n captions: of one encoder, or of each of several."""


def with_tensors(text: Text, change: Callable[[Tensor], Tensor]) -> Text:
    """Return the conditions with every tensor changed, such as moved to a device."""
    if isinstance(text, TextStates | TextIds):
        return type(text)(*(change(part) for part in text))
    return tuple(type(each)(*(change(part) for part in each)) for each in text)


def moved(text: Text, device: torch.device) -> Text:
    """Return the conditions on the device, states as float32, without waiting for the device.

    Cached states travel in the dtype in which they are stored.
    """

    def to_device(part: Tensor) -> Tensor:
        part = move(part, device)
        return part.float() if part.is_floating_point() else part

    return with_tensors(text, to_device)


class Conditions(Protocol):
    """The step from captions to conditions of the denoiser."""

    def __call__(self, captions: Sequence[str], null: Sequence[bool]) -> Text:
        """Return the conditions of n captions; those of the empty caption where ``null``.

        Some are on the CPU, and states may have the dtype of a cache: :func:`moved` follows.
        """
        ...


class EncoderCaptions(Protocol):
    """Conditions of one encoder."""

    def __call__(self, captions: Sequence[str], null: Sequence[bool]) -> TextStates | TextIds: ...


class SeveralCaptions:
    """Conditions of several encoders, each with captions that it alone drops."""

    def __init__(self, encoders: Sequence[EncoderCaptions]) -> None:
        self._encoders = encoders

    def __call__(
        self, captions: Sequence[str], null: Sequence[bool], own: Sequence[Sequence[bool]] = ()
    ) -> tuple[TextStates | TextIds, ...]:
        """Return the conditions of each encoder; ``own`` marks the captions that it drops besides those of ``null``."""
        dropped = [[a or b for a, b in zip(null, mine, strict=True)] for mine in own] or repeat(null)
        return tuple(encode(captions, mine) for encode, mine in zip(self._encoders, dropped, strict=False))


def of_encoders(captions: Sequence[EncoderCaptions]) -> Conditions:
    """Return the conditions of all encoders together, from those of each."""
    return captions[0] if len(captions) == 1 else SeveralCaptions(captions)


def joined(texts: Sequence[TextStates]) -> TextStates:
    """Return the states of several encoders as those of one.

    The tokens follow one another, and their states stand in columns of their own, with zeros elsewhere: a linear layer
    over the sum of the widths has weights of its own for each encoder. Pooled vectors are joined. ``null`` is True
    where all encoders dropped the caption.
    """
    width, before, tokens = sum(text.tokens.shape[-1] for text in texts), 0, []
    for text in texts:
        after = width - before - text.tokens.shape[-1]
        tokens.append(torch.nn.functional.pad(text.tokens, (before, after)))
        before += text.tokens.shape[-1]
    return TextStates(
        tokens=torch.cat(tokens, dim=1),
        mask=torch.cat([text.mask for text in texts], dim=1),
        pooled=torch.cat([text.pooled for text in texts], dim=1),
        null=torch.stack([text.null for text in texts]).all(dim=0),
    )


class LiveCaptions:
    """Conditions for a trainable encoder: token ids, padded to a bucket."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder

    def __call__(self, captions: Sequence[str], null: Sequence[bool]) -> TextIds:
        tokens = self._encoder.tokenize(_dropped(captions, null))
        length = padded_length(int(tokens.mask.sum(1).max()), self._encoder.max_length)
        return TextIds(fitted(tokens.ids, length), fitted(tokens.mask, length), torch.tensor(null, dtype=torch.bool))


class CaptionLookup(Protocol):
    """A source of caption states: the cache, or an encoder."""

    def __call__(self, captions: Sequence[str]) -> Sequence[CaptionStates]: ...


class FrozenCaptions:
    """Conditions for a frozen encoder: states looked up caption by caption, padded to a bucket."""

    def __init__(self, lookup: CaptionLookup, *, max_length: int) -> None:
        self._lookup = lookup
        self._max_length = max_length

    def __call__(self, captions: Sequence[str], null: Sequence[bool]) -> TextStates:
        states = self._lookup(_dropped(captions, null))
        length = padded_length(max(state.tokens.shape[0] for state in states), self._max_length)
        tokens = torch.stack([fitted(state.tokens[None].float(), length)[0] for state in states])
        lengths = torch.tensor([state.tokens.shape[0] for state in states])
        pooled = torch.stack([state.pooled.float() for state in states])
        return TextStates(tokens, torch.arange(length) < lengths[:, None], pooled, torch.tensor(null, dtype=torch.bool))


def padded_length(length: int, longest: int) -> int:
    """Return the smallest bucket for ``length`` tokens, at most ``longest``."""
    return min(-(-max(length, 1) // BUCKET) * BUCKET, longest)


def _dropped(captions: Sequence[str], null: Sequence[bool]) -> list[str]:
    return ["" if drop else caption for caption, drop in zip(captions, null, strict=True)]


def fitted(values: Tensor, length: int) -> Tensor:
    """Return values [n, l, ...] cut or padded with zeros to ``length`` tokens."""
    if values.shape[1] >= length:
        return values[:, :length]
    return torch.nn.functional.pad(values, (0, 0) * (values.ndim - 2) + (0, length - values.shape[1]))
