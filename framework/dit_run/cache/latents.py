"""Latents: encode the images that the cache does not have."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dit_run.cache.builder import Build, cache_bytes
from dit_run.cache.file_digests import FileDigests
from dit_run.cache.image_reader import Content, ImageReader, Pixels
from dit_run.cache.lookup import LatentCache
from dit_run.cache.records import CurrentRecords
from dit_run.cache.space import Space, Writer
from dit_run.compute.devices import encoding_chunks, move
from dit_run.data.aspect_buckets import Size
from dit_run.data.images import PREPROCESSING_VERSION, decoder
from dit_run.model.codec import LatentShape, device_of, encode_latents
from dit_run.problems import InputError
from dit_run.protocols import ImageEncoder
from dit_run.registry.kind_options import DatasetCommon

__all__ = ["LatentWork", "examined"]

_ROUNDS = 3
_REPORTED_AFTER = 1.0


@contextlib.contextmanager
def examined(
    build: Build,
    vae: ImageEncoder,
    reader: ImageReader,
    indices: Sequence[int],
    size: Size,
    code: str = "",
    kind: str = "latents",
) -> Iterator[LatentWork]:
    """Yield the work for samples of one part at one size, (height, width), with mirrored images if the part has them.

    The first of several processes looks alone; the others then look at once, and build what is still missing. While one
    builds, no other process does the same work until the context ends. ``code`` is the digest of the encoder's plugin,
    ``kind`` that of the spaces. Raises InputError for an unreadable image, unless the data skips those, and Stopped.
    """
    common = reader.parts.common(indices[0])
    flips = (False, True) if common.random_flip else (False,)
    settings = _pixel_settings(common, size)
    spaces = tuple(build.space(kind, vae, code, {**settings, "mirrored": flip}) for flip in flips)
    with contextlib.ExitStack() as stack:
        files = stack.enter_context(FileDigests(build.root / "files.sqlite"))
        work = LatentWork(build, vae, reader, common, size, spaces, tuple(map(CurrentRecords, spaces)), files)
        held = stack.enter_context(contextlib.ExitStack())
        alone = held.enter_context(build.looking(spaces[0]))
        work.examine(indices)
        if not (alone and work.incomplete):
            held.close()
        if not alone and work.incomplete:
            held.enter_context(build.alone(spaces[0]))
        yield work


def _pixel_settings(common: DatasetCommon, size: Size) -> dict[str, Any]:
    height, width = size
    return {
        "preprocessing": PREPROCESSING_VERSION,
        "decoder": decoder(),
        "image_size": height if height == width else [height, width],
        "alpha_background": common.alpha_background,
        "crop": common.crop,
    }


@dataclass(frozen=True)
class _Image:
    """An image to encode."""

    key: bytes
    space: int
    pixels: Pixels


@dataclass(frozen=True)
class LatentWork:
    """Images to cache."""

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
    known: dict[int, Content] = field(default_factory=dict)
    """Content of each sample, by index."""
    bad: dict[int, str] = field(default_factory=dict)
    """Reason why a sample cannot be read, by index."""

    def examine(self, indices: Sequence[int]) -> None:
        """Determine the content of these samples; report progress only if it takes long."""
        since, shown = time.monotonic(), False
        for done, found in enumerate(self.reader.contents(indices, self.files, self.size), start=1):
            if isinstance(found, Content):
                self.known[found.index] = found
            else:
                self._refuse(*found)
            if time.monotonic() - since > _REPORTED_AFTER:
                since, shown = time.monotonic(), True
                self.build.done("reading image digests", done, len(indices))
        if shown:
            self.build.done("reading image digests", len(indices), len(indices))

    @property
    def incomplete(self) -> bool:
        """True if the cache lacks latents."""
        return bool(self._missing())

    def missing_bytes(self) -> int:
        """Return the size of the missing latents (bytes)."""
        values = math.prod(self._shape())
        images = sum(len(spaces) for _, spaces in self._missing())
        return cache_bytes(self.build.dtype, images=images, latent_values=values)

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
        count = sum(len(spaces) for _, spaces in missing)
        for space in {space for _, spaces in missing for space in spaces}:
            self.spaces[space].check_writable()
        changed: list[int] = []
        writers = [Writer(space, self.build.stored_dtype) for space in self.spaces]
        try:
            encoded = self._encoded(self._images(missing, changed))
            for done, (image, values) in enumerate(encoded, start=1):
                writers[image.space].add(image.key, values)
                self.build.done("encoding images", done, count)
        finally:
            for writer in writers:
                writer.flush()
        return changed

    def _cache(self) -> LatentCache:
        """Return the cache of all examined samples."""
        indices = sorted({*self.known, *self.bad})
        keys = [self.known[index].key if index in self.known else bytes(32) for index in indices]
        unreadable = {self.known[index].key: reason for index, reason in self.bad.items() if index in self.known}
        alike = {
            index: self.reader.refusal(index, self.size) or unreadable[key]
            for index, key in zip(indices, keys, strict=True)
            if key in unreadable and index not in self.bad
        }
        records = tuple(each() for each in self.records)
        return LatentCache(
            records=records,
            indices=np.array(indices, dtype=np.int64),
            places=tuple(each.find(keys) for each in records),
            bad=self.bad | alike,
            shape=self._shape(),
            dtype=self.build.stored_dtype,
        )

    def _shape(self) -> tuple[int, int, int]:
        return LatentShape.of(self.vae)(*self.size)

    def _missing(self) -> list[tuple[Content, list[int]]]:
        """Return the distinct contents that are missing, each with the numbers of the spaces that need it."""
        distinct = list({content.key: content for content in self.known.values()}.values())
        keys = [content.key for content in distinct]
        absent = np.stack([each().find(keys) < 0 for each in self.records], axis=1)
        rows = np.flatnonzero(absent.any(axis=1)).tolist()
        return [(distinct[row], np.flatnonzero(absent[row]).tolist()) for row in rows]

    def _images(self, missing: Sequence[tuple[Content, list[int]]], changed: list[int]) -> Iterator[_Image]:
        contents = (content for content, _ in missing)
        for (content, pixels), (_, spaces) in zip(self.reader.pixels(contents, self.size), missing, strict=True):
            if pixels is None:
                changed.append(content.index)
            elif isinstance(pixels, InputError):
                self._refuse(content.index, pixels)
            else:
                for space in spaces:
                    yield _Image(content.key, space, pixels[:, ::-1] if space else pixels)

    def _encoded(self, todo: Iterable[_Image]) -> Iterator[tuple[_Image, Tensor]]:
        """Yield each image with its mean and, if there is one, standard deviation, [1 or 2, c, h, w]."""
        device, rest = device_of(self.vae), iter(todo)
        size = encoding_chunks(device)[0]
        while chunk := list(islice(rest, size)):
            images = move(torch.from_numpy(np.stack([image.pixels for image in chunk])), device)
            mean, spread = encode_latents(self.vae, images, self.build.dtype)
            both = mean[:, None] if spread is None else torch.stack([mean, spread], dim=1)
            yield from zip(chunk, both.cpu(), strict=True)

    def _refuse(self, index: int, error: InputError) -> None:
        """Record an unreadable image, or raise InputError if the data does not skip those."""
        if self.common.on_bad_sample == "error":
            raise InputError(
                f"{error}\nRepair or remove it, or leave out such samples with data.on_bad_sample=skip"
            ) from error
        self.bad[index] = str(error)
