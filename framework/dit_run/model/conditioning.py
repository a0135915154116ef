"""Captions as the model's conditions: token ids for an encoder that trains, states for one that is frozen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from dit_run.protocols import TextEncoder, TextStates

__all__ = [
    "BUCKET",
    "CaptionStates",
    "Conditions",
    "FrozenCaptions",
    "LiveCaptions",
    "TextIds",
    "fitted",
    "padded_length",
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
    """The states of one caption from a frozen encoder, real tokens only."""

    tokens: Tensor
    """float [l, d]."""
    pooled: Tensor
    """float [pooled_width]."""


class Conditions(Protocol):
    """The step from captions to conditions of the denoiser."""

    def __call__(self, captions: Sequence[str], null: Sequence[bool]) -> TextStates | TextIds:
        """Return the conditions of n captions on the CPU; those of the empty caption where ``null``."""
        ...


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
        tokens = torch.zeros(len(states), length, states[0].tokens.shape[1])
        mask = torch.zeros(len(states), length, dtype=torch.bool)
        for row, state in enumerate(states):
            tokens[row, : state.tokens.shape[0]] = state.tokens
            mask[row, : state.tokens.shape[0]] = True
        pooled = torch.stack([state.pooled.float() for state in states])
        return TextStates(tokens, mask, pooled, torch.tensor(null, dtype=torch.bool))


def padded_length(length: int, longest: int) -> int:
    """Return the smallest bucket for ``length`` tokens, at most ``longest``."""
    return min(-(-max(length, 1) // BUCKET) * BUCKET, longest)


def _dropped(captions: Sequence[str], null: Sequence[bool]) -> list[str]:
    return ["" if drop else caption for caption, drop in zip(captions, null, strict=True)]


def fitted(values: Tensor, length: int) -> Tensor:
    """Return values [n, l, ...] cut or padded with zeros to ``length`` tokens."""
    if values.shape[1] >= length:
        return values[:, :length]
    return torch.nn.functional.pad(values, (0, length - values.shape[1]))
