"""Reading the cache: latents of visits, states of captions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dit_run.cache.records import Places, Records
from dit_run.cache.shards import BITS, Bits, bits_of
from dit_run.conditions import CaptionStates, padded_length
from dit_run.data.samples import Visit
from dit_run.problems import DitRunError, InputError
from dit_run.protocols import TextStates

__all__ = ["CaptionCache", "LatentCache", "caption_key"]


def caption_key(caption: str) -> bytes:
    """SHA-256 of its text."""
    return hashlib.sha256(caption.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True)
class LatentCache:
    """Latents of a run's samples. Picklable."""

    records: tuple[Records, ...]
    """Of plain pictures and, where they are mirrored in training, of mirrored ones."""
    indices: NDArray[np.int64]
    """The samples' indices in the dataset, ascending."""
    places: tuple[Places, ...]
    """Where each of them is, by that; -1 for one that cannot be read."""
    bad: Mapping[int, str]
    """Why not, by index."""
    shape: tuple[int, int, int]
    """(c, h, w)."""
    dtype: torch.dtype
    """What values are kept in."""

    def __call__(self, visit: Visit) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Mean and standard deviation, float32 [c, h, w]. Raises InputError for a sample that cannot be read, and
        DamagedRecord."""
        mean, spread = self.gather([self.find(visit.index, visit.flip)])
        return mean[0].float().numpy(), None if spread is None else spread[0].float().numpy()

    def find(self, index: int, flip: bool = False) -> tuple[int, int]:
        """Where a sample's latents are. Raises InputError for one that cannot be read."""
        at = int(np.searchsorted(self.indices, index))
        if at == len(self.indices) or self.indices[at] != index:
            raise KeyError(f"sample {index} is not one of those that were cached")
        if index in self.bad:
            raise InputError(self.bad[index])
        return int(flip), int(self.places[int(flip)][at])

    def gather(self, found: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor | None]:
        """Means and standard deviations [n, c, h, w] in the dtype they are kept in. Raises DamagedRecord."""
        first, *rest = found
        head = self.records[first[0]].read(first[1])
        values = np.empty((len(found), head.size), dtype=head.dtype)
        values[0] = head
        for row, (flip, place) in enumerate(rest, start=1):
            self.records[flip].read(place, into=values[row])
        both = torch.from_numpy(values).view(self.dtype).view(len(found), -1, *self.shape)
        return both[:, 0], both[:, 1] if both.shape[1] == 2 else None


@dataclass(frozen=True)
class CaptionCache:
    """States of captions. Implements :class:`dit_run.conditions.Conditions` with the same numbers as
    :class:`~dit_run.conditions.FrozenCaptions`. Picklable; ``live`` stays in the process that made it."""

    records: Records
    width: int
    pooled_width: int
    max_length: int
    """The most tokens that a caption has."""
    dtype: torch.dtype
    """What values are kept in."""
    live: Callable[[Sequence[str]], list[CaptionStates]] | None = None
    """Encodes captions that are not kept, such as new prompts."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "live": None}

    def __call__(self, captions: Sequence[str], null: Sequence[bool]) -> TextStates:
        """States of captions, the empty one where ``null``; float32, padded to a bucket. Raises DamagedRecord."""
        wanted = ["" if drop else caption for caption, drop in zip(captions, null, strict=True)]
        found = [self._record(place, caption) for place, caption in zip(self._find(wanted), wanted, strict=True)]
        lengths = [(values.size - self.pooled_width) // self.width for values in found]
        length = padded_length(max(lengths), self.max_length)
        tokens = np.zeros((len(found), length * self.width), dtype=BITS[self.dtype])
        pooled = np.empty((len(found), self.pooled_width), dtype=BITS[self.dtype])
        for row, values in enumerate(found):
            tokens[row, : values.size - self.pooled_width] = values[: -self.pooled_width]
            pooled[row] = values[-self.pooled_width :]
        return TextStates(
            tokens=torch.from_numpy(tokens).view(self.dtype).view(len(found), length, self.width).float(),
            mask=torch.arange(length) < torch.tensor(lengths)[:, None],
            pooled=torch.from_numpy(pooled).view(self.dtype).float(),
            null=torch.tensor(null, dtype=torch.bool),
        )

    def states(self, caption: str) -> CaptionStates:
        """States of one caption, float32, real tokens only. Raises DamagedRecord."""
        (place,) = self._find([caption])
        values = torch.from_numpy(self._record(place, caption).copy()).view(self.dtype).float()
        return CaptionStates(values[: -self.pooled_width].view(-1, self.width), values[-self.pooled_width :])

    def _find(self, captions: Sequence[str]) -> list[int]:
        places: list[int] = self.records.find([caption_key(caption) for caption in captions]).tolist()
        return places

    def _record(self, place: int, caption: str) -> Bits:
        if place >= 0:
            return self.records.read(place)
        if self.live is None:
            raise DitRunError(f"the caption {caption!r} is not in the cache; it changed while the run went on")
        (states,) = self.live([caption])
        return bits_of(torch.cat([states.tokens.flatten(), states.pooled]), self.dtype)
