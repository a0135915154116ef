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
from dit_run.conditions import CaptionStates
from dit_run.data.samples import Visit
from dit_run.problems import DitRunError, InputError

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
    """States of captions. Picklable; ``live`` stays in the process that made it."""

    records: Records
    width: int
    pooled_width: int
    dtype: torch.dtype
    """What values are kept in."""
    live: Callable[[Sequence[str]], list[CaptionStates]] | None = None
    """Encodes captions that are not kept, such as new prompts."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "live": None}

    def __call__(self, captions: Sequence[str]) -> list[CaptionStates]:
        """States of captions, float32. Raises DamagedRecord."""
        places = self.records.find([caption_key(caption) for caption in captions]).tolist()
        missing = [caption for caption, place in zip(captions, places, strict=True) if place < 0]
        made = dict(zip(missing, self._encode(missing), strict=True)) if missing else {}
        return [
            made[caption] if place < 0 else self._states(place) for caption, place in zip(captions, places, strict=True)
        ]

    def _states(self, place: int) -> CaptionStates:
        values = torch.from_numpy(self.records.read(place).copy()).view(self.dtype).float()
        return CaptionStates(values[: -self.pooled_width].view(-1, self.width), values[-self.pooled_width :])

    def _encode(self, captions: list[str]) -> list[CaptionStates]:
        if self.live is None:
            raise DitRunError(f"the caption {captions[0]!r} is not in the cache; it changed while the run went on")
        return self.live(captions)
