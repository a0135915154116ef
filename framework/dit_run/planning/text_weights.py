"""The weights of frozen text encoders, counted without reading them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from dit_run.assembly.parts import Encoders
from dit_run.cache.open_cache import cacheable
from dit_run.settings import Config

__all__ = ["TextWeights", "live_size"]


@dataclass(frozen=True)
class TextWeights:
    """The weights of one frozen text encoder."""

    parameters: int
    size: int
    """Memory that they take (bytes)."""
    live: bool
    """True for an encoder that works in each step, because its states are not cached."""

    @classmethod
    def of(cls, config: Config, encoders: Encoders) -> list[TextWeights | None]:
        """Return the weights of each text encoder; None for one that trains."""
        kept = cacheable(config, encoders.texts, encoders.vae).captions
        return [
            None if text.trainable else cls._counted(text, live=not keep)
            for text, keep in zip(encoders.texts, kept, strict=True)
        ]

    @classmethod
    def _counted(cls, text: Any, *, live: bool) -> TextWeights:
        """Count those of its network without weights, of an encoder that loads them later and offers that."""
        offered = getattr(text, "without_weights", None)
        module: nn.Module = text if offered is None else offered()
        weights = list(module.parameters())
        return cls(sum(each.numel() for each in weights), sum(each.nbytes for each in weights), live)


def live_size(weights: Sequence[TextWeights | None]) -> int:
    """Return the memory of the encoders that work in each step (bytes)."""
    return sum(each.size for each in weights if each is not None and each.live)
