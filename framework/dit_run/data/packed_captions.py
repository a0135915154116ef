"""Captions and weights of many samples in a few flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dit_run.data.caption_weights import Caption, sample_weights
from dit_run.data.texts import Texts

__all__ = ["PackedCaptions"]


@dataclass(frozen=True, eq=False)
class PackedCaptions:
    """The captions of many samples."""

    texts: Texts
    weights: NDArray[np.float64]
    starts: NDArray[np.int64]
    """Number of the first caption of each sample, then the number of captions."""

    @classmethod
    def of(cls, captions: Sequence[Sequence[Caption]]) -> PackedCaptions:
        """Pack the captions of each sample."""
        return cls(
            Texts.of(caption.text for own in captions for caption in own),
            np.array([caption.weight for own in captions for caption in own], dtype=np.float64),
            np.cumsum([0, *(len(own) for own in captions)], dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """Return captions and weights, as a sample has them."""
        first, end = int(self.starts[number]), int(self.starts[number + 1])
        texts = tuple(self.texts[place] for place in range(first, end))
        return texts, sample_weights(self.weights[first:end].tolist())
