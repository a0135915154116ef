"""The format of caption states: the precision and the number of tokens that a run uses, cached or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from dit_run.model.conditioning import CaptionStates
from dit_run.problems import InputError

__all__ = ["StateFormat"]

_DTYPES: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8": torch.float8_e4m3fn,
}
_LARGEST = 448.0
"""Largest number of float8_e4m3fn, 0.875 · 2^9."""
_FRACTION, _EXPONENT = 0.875, 9
_MOST = 16
"""Largest exponent of a scale, up to which float8_e4m3fn holds all whole numbers."""


@cache
def _scales(device: torch.device) -> Tensor:
    """Return the scales of the exponents from -_MOST to _MOST."""
    return torch.tensor([2.0**exponent for exponent in range(-_MOST, _MOST + 1)], device=device)


@dataclass(frozen=True)
class StateFormat:
    """The precision of caption states, and how many tokens of a caption have states.

    Eight bits are float8_e4m3fn with a scale for each vector, a power of two that brings its largest number near 448:
    states of language models have a few numbers that are far beyond the others.
    """

    dtype: torch.dtype | None = None
    """Dtype that states are rounded to; None takes the precision in which they are computed."""
    max_tokens: int | None = None
    """Number of tokens, from the first, whose states are used; None uses all."""

    @classmethod
    def named(cls, dtype: str | None, max_tokens: int | None) -> StateFormat:
        """Return the format with the dtype ``fp32``, ``bf16``, ``fp16`` or ``fp8``."""
        return cls(None if dtype is None else _DTYPES[dtype], max_tokens)

    def computed_in(self, dtype: torch.dtype | None) -> StateFormat:
        """Return the format with a dtype: its own, else that of computation, for which None is float32."""
        return replace(self, dtype=self.stored(dtype))

    def stored(self, computed: torch.dtype | None) -> torch.dtype:
        """Return the dtype of states that are computed in a dtype."""
        return self.dtype or computed or torch.float32

    def longest(self, max_length: int) -> int:
        """Return the largest number of tokens with states of an encoder that takes ``max_length`` tokens."""
        return max_length if self.max_tokens is None else min(max_length, self.max_tokens)

    def applied(self, states: Sequence[CaptionStates]) -> list[CaptionStates]:
        """Return the states, float32, without the last tokens and rounded. Raises InputError where they overflow."""
        given = [CaptionStates(self._cut(each.tokens), each.pooled) for each in states]
        rounded = [CaptionStates(*(self.unpacked(self.packed(part)) for part in each)) for each in given]
        if self.stored(None) not in (torch.float32, torch.bfloat16):  # these two have one range
            self._refuse_overflow([*zip(given, rounded, strict=True)])
        return rounded

    def _refuse_overflow(self, pairs: Sequence[tuple[CaptionStates, CaptionStates]]) -> None:
        """Raise InputError for given states that are finite and rounded ones that are not.

        The answer is read once for all of them, since each reading waits for a GPU.
        """
        parts = [part for given, rounded in pairs for part in zip(given, rounded, strict=True)]
        overflows = torch.stack([given.isfinite().all() & ~rounded.isfinite().all() for given, rounded in parts])
        for (given, _), overflow in zip(parts, overflows.tolist(), strict=True):
            if overflow:
                raise InputError(
                    f"states of captions are too large for {str(self.dtype).removeprefix('torch.')}, the largest is "
                    f"{float(given.abs().max()):g}; set cache.text_dtype: bf16"
                )

    def record(self, states: CaptionStates) -> Tensor:
        """Return the states of a caption as one row of packed values: those of each token, then the pooled vector."""
        return torch.cat([self.packed(states.tokens).flatten(), self.packed(states.pooled)])

    def packed_width(self, width: int) -> int:
        """Return the number of values that a vector of ``width`` numbers takes."""
        return width + self.scaled

    def packed(self, values: Tensor) -> Tensor:
        """Return vectors [..., d] as float32 [..., d] or, with a scale, [..., d + 1] that the dtype represents.

        Vectors that were packed before stay the same.
        """
        if not self.scaled:
            return values.to(self.stored(None)).float()
        fraction, exponent = torch.frexp(values.float().abs().amax(-1, keepdim=True))
        exponent = (exponent - _EXPONENT + (fraction > _FRACTION)).clamp(-_MOST, _MOST)
        scaled = values / _scales(values.device)[exponent + _MOST]
        fitting = torch.where(scaled.abs() > _LARGEST, torch.nan, scaled)
        return torch.cat([fitting.to(self.stored(None)).float(), exponent], dim=-1)

    def unpacked(self, values: Tensor) -> Tensor:
        """Return vectors float32 [..., d] from :meth:`packed` ones of any dtype."""
        values = values.float()
        return values[..., :-1] * _scales(values.device)[values[..., -1:].long() + _MOST] if self.scaled else values

    @property
    def scaled(self) -> bool:
        """True if a scale stands next to each vector."""
        return self.dtype is torch.float8_e4m3fn

    def _cut(self, tokens: Tensor) -> Tensor:
        return tokens if self.max_tokens is None else tokens[: self.max_tokens]
