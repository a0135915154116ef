"""Lookup: latents of visits and states of captions from the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dit_run.cache.records import Records
from dit_run.cache.shards import Bits, bits_of
from dit_run.cache.space_index import Places
from dit_run.data.aspect_buckets import Size
from dit_run.data.visits import Visit
from dit_run.model.conditioning import CaptionStates, padded_length
from dit_run.model.state_format import StateFormat
from dit_run.problems import DitRunError, InputError
from dit_run.protocols import TextStates

__all__ = ["CaptionCache", "Group", "GroupedLatentCache", "LatentCache", "LatentLookup", "caption_key"]


Group = tuple[Size, int]
"""Size of the images, (height, width), and number of their part of the dataset."""


def caption_key(caption: str) -> bytes:
    """Return the SHA-256 of the text of a caption."""
    return hashlib.sha256(caption.encode("utf-8", "surrogatepass")).digest()


class LatentLookup(Protocol):
    """Cached latents of visits."""

    def find(self, visit: Visit) -> Any:
        """Return the argument of :meth:`gather` for a visit. Raises InputError for an unreadable sample."""
        ...

    def gather(self, found: Sequence[Any]) -> Tensor:
        """Return latents of visits that share a size, [n, 1 or 2, c, h, w]."""
        ...


@dataclass(frozen=True)
class LatentCache:
    """Latents of the samples of a run. Picklable."""

    records: tuple[Records, ...]
    """Records of images and, if training mirrors them, of mirrored images."""
    indices: NDArray[np.int64]
    """Indices of the samples in the dataset, ascending."""
    places: tuple[Places, ...]
    """Place of each sample in each of ``records``; -1 for an unreadable one."""
    bad: Mapping[int, str]
    """Reason for each unreadable sample, by index."""
    shape: tuple[int, int, int]
    """Shape of the latents (c, h, w)."""
    dtype: torch.dtype
    """Dtype of stored values."""

    def find(self, visit: Visit) -> tuple[int, bool]:
        """Return the argument of :meth:`gather` for a visit. Raises InputError for an unreadable sample."""
        if visit.index in self.bad:
            raise InputError(self.bad[visit.index])
        return visit.index, visit.flip

    def gather(self, found: Sequence[tuple[int, bool]]) -> Tensor:
        """Return means and, if there is a posterior, standard deviations, [n, 1 or 2, c, h, w] in the stored dtype.

        Raises DamagedRecord.
        """
        indices, flips = np.array(found, dtype=np.int64).T
        at = np.searchsorted(self.indices, indices)
        places = np.choose(flips, [each[at] for each in self.places]).tolist()
        records = [self.records[flip] for flip in flips.tolist()]
        head = records[0].read(places[0])
        values = np.empty((len(found), head.size), dtype=head.dtype)
        for kept, place, row in zip(records, places, values, strict=True):
            row[:] = kept.read(place)
        return torch.from_numpy(values).view(self.dtype).view(len(found), -1, *self.shape)


@dataclass(frozen=True)
class GroupedLatentCache:
    """Latents of the samples of a run with buckets or a mixture: a cache for each size and part. Picklable."""

    by_group: Mapping[Group, LatentCache]

    @property
    def indices(self) -> NDArray[np.int64]:
        """Indices of the samples in the dataset, ascending."""
        return np.sort(np.concatenate([cache.indices for cache in self.by_group.values()]))

    @property
    def bad(self) -> Mapping[int, str]:
        """Reason for each unreadable sample, by index."""
        return {index: reason for cache in self.by_group.values() for index, reason in cache.bad.items()}

    def find(self, visit: Visit) -> tuple[Group, tuple[int, bool]]:
        """Return the argument of :meth:`gather` for a visit. Raises InputError for an unreadable sample."""
        group = visit.size, visit.part
        return group, self.by_group[group].find(visit)

    def gather(self, found: Sequence[tuple[Group, tuple[int, bool]]]) -> Tensor:
        """Return :meth:`LatentCache.gather` of visits that share a size, of any parts."""
        (_,) = {size for (size, _), _ in found}
        rows: dict[Group, list[int]] = {}
        for row, (group, _) in enumerate(found):
            rows.setdefault(group, []).append(row)
        gathered = [self.by_group[group].gather([found[row][1] for row in chosen]) for group, chosen in rows.items()]
        order = torch.tensor([row for chosen in rows.values() for row in chosen])
        return gathered[0] if len(gathered) == 1 else torch.cat(gathered)[torch.argsort(order)]


@dataclass(frozen=True)
class CaptionCache:
    """States of captions.

    Implements :class:`dit_run.model.conditioning.Conditions` on the CPU, with the same numbers as
    :class:`~dit_run.model.conditioning.FrozenCaptions`. Picklable; ``live`` stays in the process that created it.
    """

    records: Records
    width: int
    pooled_width: int
    max_length: int
    """Largest number of tokens of a caption."""
    form: StateFormat
    """Format of stored values."""
    live: Callable[[Sequence[str]], list[CaptionStates]] | None = None
    """Encodes captions that are not cached, such as new prompts."""
    count: int = 0
    """Number of captions for which it was opened, the empty one included; the space may hold more."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "live": None}

    def __call__(self, captions: Sequence[str], null: Sequence[bool]) -> TextStates:
        """Return states of captions, of the empty one where ``null``, in the stored dtype and padded to a bucket.

        Raises DamagedRecord.
        """
        wanted = ["" if drop else caption for caption, drop in zip(captions, null, strict=True)]
        places = self.records.find([caption_key(caption) for caption in wanted]).tolist()
        found = [self._record(place, caption) for place, caption in zip(places, wanted, strict=True)]
        width, last = self.form.packed_width(self.width), self.form.packed_width(self.pooled_width)
        lengths = [(values.size - last) // width for values in found]
        length = padded_length(max(lengths), self.form.longest(self.max_length))
        tokens = np.zeros((len(found), length * width), dtype=found[0].dtype)
        pooled = np.empty((len(found), last), dtype=found[0].dtype)
        for row, values in enumerate(found):
            tokens[row, : values.size - last] = values[:-last]
            pooled[row] = values[-last:]
        return TextStates(
            tokens=self._values(tokens, width),
            mask=torch.arange(length) < torch.tensor(lengths)[:, None],
            pooled=self._values(pooled, last)[:, 0],
            null=torch.tensor(null, dtype=torch.bool),
        )

    def _values(self, bits: Bits, width: int) -> Tensor:
        """Return the numbers of stored vectors [n, values of one or more], in their dtype unless they have scales."""
        values = torch.from_numpy(bits).view(self.form.stored(None)).view(len(bits), -1, width)
        return self.form.unpacked(values) if self.form.scaled else values

    def _record(self, place: int, caption: str) -> Bits:
        if place >= 0:
            return self.records.read(place)
        if self.live is None:
            raise DitRunError(f"the caption {caption!r} is not in the cache: captions changed during the run")
        (states,) = self.live([caption])
        return bits_of(self.form.record(states), self.form.stored(None))
