"""Kept places: where the latents and captions of all samples lie in the cache, for the next start on the same data.

A start with a complete cache then looks at no sample. What is kept is named by all that decides it: the identity of the
data, the chosen samples and their options, and the digest of the index of each space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from dit_run.cache.builder import Build
from dit_run.cache.caption_states import caption_cache, caption_space
from dit_run.cache.lookup import CaptionCache, Group, LatentCache
from dit_run.cache.records import CurrentRecords, Records
from dit_run.cache.space import Space
from dit_run.data.column_files import Columns, array_digest
from dit_run.data.kept_columns import is_large, kept, known
from dit_run.data.samples import Samples
from dit_run.model.codec import LatentShape
from dit_run.model.state_format import StateFormat
from dit_run.protocols import Identified, IdentifiedImages, ImageEncoder, TextEncoder

__all__ = ["KeptCaptions", "KeptLatents"]

_VERSION = 1
"""Version of what is kept, raised when it changes."""

T = TypeVar("T")


@dataclass(frozen=True)
class KeptLatents:
    """The latents of samples of one dataset. All processes of a run call the same methods."""

    build: Build
    encoder: ImageEncoder
    spaces: Mapping[Group, tuple[Space, ...]]
    """The space of images and, if needed, of mirrored images, of each size and part."""
    samples: Sequence[Samples]

    def find(self) -> dict[Group, LatentCache] | None:
        """Return the latents of each size and part; None in all processes if one of them has to look for some."""
        return _found_by_all(self.build, self._known)

    def _known(self) -> dict[Group, LatentCache] | None:
        chosen = self._chosen()
        if chosen is None:
            return None
        records = {group: tuple(CurrentRecords(space)() for space in spaces) for group, spaces in self.spaces.items()}
        columns = known(self._name(chosen, records), verified=True)
        if columns is None:
            return None
        return {group: self._cache(group, each, columns) for group, each in records.items()}

    def keep(self, found: Mapping[Group, LatentCache]) -> dict[Group, LatentCache]:
        """Keep the places of all latents, unless some sample is unreadable, which another start may read."""
        chosen = self._chosen()
        if chosen is None or any(cache.bad for cache in found.values()):
            return dict(found)
        name = self._name(chosen, {group: cache.records for group, cache in found.items()})
        columns = kept(name, partial(self._columns, found), verified=True)
        return {group: self._cache(group, cache.records, columns) for group, cache in found.items()}

    def _chosen(self) -> list[Any] | None:
        dataset = self.samples[0].dataset
        return _chosen(self.samples, dataset.images_identity if isinstance(dataset, IdentifiedImages) else None)

    def _name(self, chosen: list[Any], records: Mapping[Group, tuple[Records, ...]]) -> list[Any]:
        return ["places", _VERSION, *chosen, [[*group, *map(_state, each)] for group, each in records.items()]]

    def _columns(self, found: Mapping[Group, LatentCache]) -> Columns:
        arrays = {}
        for group, cache in found.items():
            arrays[self._column(group, "indices")] = cache.indices
            arrays |= {self._column(group, number): places for number, places in enumerate(cache.places)}
        return Columns(arrays)

    def _cache(self, group: Group, records: tuple[Records, ...], columns: Columns) -> LatentCache:
        places = tuple(columns[self._column(group, number)] for number in range(len(records)))
        shape, dtype = LatentShape.of(self.encoder)(*group[0]), self.build.stored_dtype
        return LatentCache(records, columns[self._column(group, "indices")], places, {}, shape, dtype)

    def _column(self, group: Group, what: str | int) -> str:
        return f"{list(self.spaces).index(group)} {what}"


@dataclass(frozen=True)
class KeptCaptions:
    """The states of the captions of samples, and of prompts. All processes of a run call the same methods."""

    build: Build
    encoder: TextEncoder
    code: str
    """Digest of the encoder's plugin."""
    form: StateFormat
    samples: Sequence[Samples]
    prompts: Sequence[str]

    def find(self) -> CaptionCache | None:
        """Return the cache of all states; None in all processes if one of them has to look for some."""
        return _found_by_all(self.build, self._known)

    def _known(self) -> CaptionCache | None:
        chosen = self._chosen()
        if chosen is None:
            return None
        form = self.form.computed_in(self.build.dtype)
        records = CurrentRecords(caption_space(self.build, self.encoder, self.code, form))()
        columns = known(self._name(chosen, records), verified=True)
        if columns is None:
            return None
        return caption_cache(self.build, self.encoder, form, records, int(columns["count"][0]))

    def keep(self, cache: CaptionCache) -> CaptionCache:
        """Keep that the space has the states of all captions."""
        chosen = self._chosen()
        if chosen is not None:
            count = Columns({"count": np.array([cache.count])})
            kept(self._name(chosen, cache.records), lambda: count, verified=True)
        return cache

    def _chosen(self) -> list[Any] | None:
        dataset = self.samples[0].dataset
        return _chosen(self.samples, dataset.identity if isinstance(dataset, Identified) else None)

    def _name(self, chosen: list[Any], records: Records) -> list[Any]:
        return ["captions", _VERSION, *chosen, list(self.prompts), _state(records)]


def _found_by_all(build: Build, look: Callable[[], T | None]) -> T | None:
    """Return the value of ``look``; None in all processes of a run if one of them gets None.

    The first of each team looks first: if it finds nothing, the others do not open the cache, which it completes.
    """
    found: list[T | None] = []

    def lacks(leads: bool) -> bool:
        if build.team.leads is leads:
            found.append(look())
        return found == [None]

    if any(build.shared.each(partial(lacks, True))) or any(build.shared.each(partial(lacks, False))):
        return None
    return found[0]


def _chosen(samples: Sequence[Samples], identity: str | None) -> list[Any] | None:
    """Return plain values that name these samples and their options; None for unknown data, or few samples."""
    if identity is None or not is_large(sum(map(len, samples))):
        return None
    options = [[end, asdict(part.common)] for end, part in zip(_ends(samples[0]), samples[0].parts.parts, strict=True)]
    return [identity, options, *map(_indices, samples)]


def _ends(samples: Samples) -> list[int]:
    ends: list[int] = samples.parts.ends.tolist()
    return ends


def _indices(samples: Samples) -> list[Any]:
    sizes = [] if samples.sizes is None else [samples.sizes.sizes, array_digest(samples.sizes.of_sample)]
    return [array_digest(samples.indices), *sizes]


def _state(records: Records) -> list[Any]:
    """Return plain values that name all records of a space."""
    return [records.space.folder.name, records.index.digest, sorted(records.damaged)]
