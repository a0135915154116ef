"""Latents: encode the images that the cache does not have."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dit_run.cache.builder import Build, cache_bytes
from dit_run.cache.contents import Contents, ContentsBuilder
from dit_run.cache.file_digests import FileDigests
from dit_run.cache.image_encoding import ENCODING, ImageEncoding
from dit_run.cache.image_reader import Content, ImageReader
from dit_run.cache.lookup import LatentCache
from dit_run.cache.records import CurrentRecords, Records
from dit_run.cache.shards import KEY_BYTES
from dit_run.cache.space import Space
from dit_run.cache.space_index import Places, first_bytes
from dit_run.data.aspect_buckets import Size
from dit_run.data.images import PREPROCESSING_VERSION, decoder
from dit_run.model.codec import LatentShape
from dit_run.problems import InputError
from dit_run.protocols import ImageEncoder
from dit_run.registry.kind_options import DatasetCommon

__all__ = ["LatentWork", "examined", "spaces_of"]

_ROUNDS = 3
_REPORTED_AFTER = 1.0
_EXAMINING = "reading image digests"


@contextlib.contextmanager
def examined(
    build: Build,
    vae: ImageEncoder,
    reader: ImageReader,
    indices: Sequence[int] | NDArray[np.int64],
    size: Size,
    code: str = "",
    kind: str = "latents",
) -> Iterator[LatentWork]:
    """Yield the work for samples of one part at one size, (height, width), with mirrored images if the part has them.

    The first of several runs looks alone; the others then look at once, and build what is still missing. While one
    builds, no other run does the same work until the context ends. ``code`` is the digest of the encoder's plugin,
    ``kind`` that of the spaces. Raises InputError for an unreadable image, unless the data skips those, and Stopped.
    """
    common = reader.parts.common(int(indices[0]))
    spaces = spaces_of(build, vae, common, size, code, kind)
    with contextlib.ExitStack() as stack:
        files = stack.enter_context(FileDigests(build.root / "files.sqlite"))
        work = LatentWork(build, vae, reader, common, size, spaces, tuple(map(CurrentRecords, spaces)), files)
        held = stack.enter_context(contextlib.ExitStack())
        alone = held.enter_context(build.looking(spaces[0]))
        work.examine(indices)
        incomplete = build.any(work.incomplete)
        if not (alone and incomplete):
            held.close()
        if not alone and incomplete:
            held.enter_context(build.alone(spaces[0]))
        yield work


def spaces_of(
    build: Build, vae: ImageEncoder, common: DatasetCommon, size: Size, code: str, kind: str
) -> tuple[Space, ...]:
    """Return the space of images of a size with these options and, if the options mirror them, of mirrored images."""
    flips = (False, True) if common.random_flip else (False,)
    settings = _pixel_settings(common, size)
    return tuple(build.space(kind, vae, code, {**settings, "mirrored": flip}) for flip in flips)


def _pixel_settings(common: DatasetCommon, size: Size) -> dict[str, Any]:
    height, width = size
    return {
        "preprocessing": PREPROCESSING_VERSION,
        "decoder": decoder(),
        "image_size": height if height == width else [height, width],
        "alpha_background": common.alpha_background,
        "crop": common.crop,
    }


@dataclass
class LatentWork:
    """Images to cache. All processes of a run call the same methods; each process of a team does a part of the work."""

    build: Build
    vae: ImageEncoder
    reader: ImageReader
    common: DatasetCommon
    """The options of the samples."""
    size: Size
    """Height and width of the images in pixels."""
    spaces: tuple[Space, ...]
    """The space of images and, if needed, the space of mirrored images."""
    records: tuple[CurrentRecords, ...]
    """The latents that each of them has."""
    files: FileDigests
    known: Contents = field(default_factory=Contents.none)
    """The contents of all samples that have some."""
    bad: dict[int, str] = field(default_factory=dict)
    """Reason why a sample cannot be read, by index."""

    def examine(self, indices: Sequence[int] | NDArray[np.int64]) -> None:
        """Determine the content of these samples; report progress only if it takes long."""
        mine = self.build.team.part(np.asarray(indices, dtype=np.int64))
        found = self.build.together(_EXAMINING, lambda: self._examined(mine.tolist()))
        self.known = Contents.joined([self.known, *(contents for contents, _ in self.build.team.values(found))])
        for _, bad in found:
            self.bad.update(bad)

    def _examined(self, indices: Sequence[int]) -> tuple[Contents, dict[int, str]]:
        """Return the contents of these samples, and why others have none."""
        since, shown, contents, bad = time.monotonic(), False, ContentsBuilder(), dict[int, str]()
        for done, found in enumerate(self.reader.contents(indices, self.files, self.size), start=1):
            if isinstance(found, Content):
                contents.add(found)
            else:
                bad[found[0]] = self._refused(found[1])
            if time.monotonic() - since > _REPORTED_AFTER:
                since, shown = time.monotonic(), True
                self.build.done(_EXAMINING, done, len(indices))
        if shown:
            self.build.done(_EXAMINING, len(indices), len(indices))
        return contents.contents(), bad

    @property
    def incomplete(self) -> bool:
        """True if the cache lacks latents."""
        return bool(self._missing().any())

    def missing_bytes(self) -> int:
        """Return the size of the missing latents (bytes)."""
        values = math.prod(self._shape())
        return cache_bytes(self.build.dtype, images=int(self._missing().sum()), latent_values=values)

    def keep(self) -> LatentCache:
        """Encode the missing images and return the cache. Raises InputError and Stopped."""
        left = self._encode()
        for _ in range(_ROUNDS - 1):
            if left:
                self.examine(left)
                left = self._encode()
        if left:
            image = self.reader.dataset[left[0]].image
            raise InputError(f"{image} changes during the read, as do {len(left) - 1} other images")
        return self._cache()

    def _encode(self) -> list[int]:
        """Encode the missing images; return the samples that changed before they were read."""
        missing = self._missing()
        mine = self.build.team.part(np.flatnonzero(missing.any(axis=1)))
        contents = map(self.known.__getitem__, mine.tolist())
        encoding = ImageEncoding(self.build, self.vae, self.reader, self.size, self.spaces, self._refused)
        encoded = self.build.together(ENCODING, lambda: encoding.write(contents, missing[mine]))
        for images in encoded:
            self.bad.update(images.bad)
        for images in self.build.team.values(encoded):
            for records, names in zip(self.records, images.shards, strict=True):
                records.announce(names)
        return sorted(index for images in encoded for index in images.changed)

    def _cache(self) -> LatentCache:
        """Return the cache of all examined samples."""
        known = self.known
        indices = np.union1d(known.indices, np.array(sorted(self.bad), dtype=np.int64))
        rows = np.searchsorted(indices, known.indices)
        for current in self.records:
            current.announce(self.build.by_leader(current.store_index))
        records = tuple(each() for each in self.records)
        places = tuple(np.full(len(indices), -1, dtype=np.int64) for _ in records)
        for kept, each in zip(records, places, strict=True):
            each[rows] = self._found(kept)
        return LatentCache(records, indices, places, self.bad | self._alike(), self._shape(), self.build.stored_dtype)

    def _found(self, records: Records) -> Places:
        """Return the places of all contents; each process of the team looks for a part of them."""
        mine = self.build.team.part(self.known.keys)
        return np.concatenate(self.build.team.values(self.build.shared.each(lambda: records.find(mine))))

    def _alike(self) -> dict[int, str]:
        """Return the reason for each other sample whose content is that of an unreadable one."""
        rows = self.known.rows(self.bad)
        reasons = {self.known[row].key: self.bad[self.known[row].index] for row in rows.tolist()}
        if not reasons:
            return {}
        prefixes = first_bytes(self.known.keys)
        others = np.setdiff1d(np.flatnonzero(np.isin(prefixes, prefixes[rows])), rows)
        alike = [content for content in map(self.known.__getitem__, others.tolist()) if content.key in reasons]
        return {
            content.index: self.reader.refusal(content.index, self.size) or reasons[content.key] for content in alike
        }

    def _shape(self) -> tuple[int, int, int]:
        return LatentShape.of(self.vae)(*self.size)

    def _missing(self) -> NDArray[np.bool_]:
        """Return which contents are missing, [n, spaces]; of equal contents the first."""
        return self.build.by_leader(self._absent)

    def _absent(self) -> NDArray[np.bool_]:
        absent = np.stack([each.find(self.known.keys) < 0 for each in self.records], axis=1)
        rows = np.flatnonzero(absent.any(axis=1))
        keys = self.known.keys[rows].view(f"V{KEY_BYTES}").ravel()  # numpy compares them much faster than rows of bytes
        _, firsts = np.unique(keys, return_index=True)
        absent[np.delete(rows, firsts)] = False
        return absent

    def _refused(self, error: InputError) -> str:
        """Return the reason why an image is skipped, or raise InputError if the data does not skip those."""
        if self.common.on_bad_sample == "error":
            raise InputError(
                f"{error}\nRepair or remove it, or leave out such samples with data.on_bad_sample=skip"
            ) from error
        return str(error)
