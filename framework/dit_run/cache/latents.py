"""Keeping latents of pictures."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dit_run.cache.builder import Build, forecast
from dit_run.cache.file_digests import FileDigests
from dit_run.cache.image_reader import Content, PictureReader, Pixels
from dit_run.cache.lookup import LatentCache
from dit_run.cache.records import Records
from dit_run.cache.space import Space, Writer
from dit_run.compute.devices import encoding_chunks
from dit_run.data.images import PREPROCESSING_VERSION, decoder
from dit_run.model.codec import device_of, encode_latents
from dit_run.problems import InputError
from dit_run.protocols import VAE

__all__ = ["LatentWork", "looked_at"]

_ROUNDS = 3
_REPORTED_AFTER = 1.0


@contextlib.contextmanager
def looked_at(build: Build, vae: VAE, reader: PictureReader, indices: Sequence[int]) -> Iterator[LatentWork]:
    """What there is to do for these samples, mirrored too where the data is. While entered nobody else does it.

    Raises InputError for a picture that cannot be read, unless the data skips such, and Stopped.
    """
    flips = (False, True) if reader.common.random_flip else (False,)
    spaces = tuple(build.space("latents", vae, {**_pixel_settings(reader), "mirrored": flip}) for flip in flips)
    with build.alone(spaces[0]), FileDigests(build.root / "files.sqlite") as files:
        work = LatentWork(build, vae, reader, spaces, files)
        work.look(indices)
        yield work


def _pixel_settings(reader: PictureReader) -> dict[str, Any]:
    return {
        "preprocessing": PREPROCESSING_VERSION,
        "decoder": decoder(),
        "image_size": reader.common.image_size,
        "alpha_background": reader.common.alpha_background,
        "crop": reader.common.crop,
    }


@dataclass(frozen=True)
class _Picture:
    """One that is to be encoded."""

    key: bytes
    space: int
    pixels: Pixels


@dataclass(frozen=True)
class LatentWork:
    """Pictures that are to be kept."""

    build: Build
    vae: VAE
    reader: PictureReader
    spaces: tuple[Space, ...]
    """Of plain pictures and, perhaps, of mirrored ones."""
    files: FileDigests
    known: dict[int, Content] = field(default_factory=dict)
    """What each sample shows, by index."""
    bad: dict[int, str] = field(default_factory=dict)
    """Why a sample cannot be read, by index."""

    def look(self, indices: Sequence[int]) -> None:
        """Learn what these samples show. Reported only where it takes long."""
        since, shown = time.monotonic(), False
        for done, found in enumerate(self.reader.contents(indices, self.files), start=1):
            if isinstance(found, Content):
                self.known[found.index] = found
            else:
                self._refuse(*found)
            if time.monotonic() - since > _REPORTED_AFTER:
                since, shown = time.monotonic(), True
                self.build.done("looking at pictures", done, len(indices))
        if shown:
            self.build.done("looking at pictures", len(indices), len(indices))

    def bytes_lacking(self) -> int:
        """What the latents take that are not there yet."""
        values = self.vae.latent_channels * (self.reader.common.image_size // self.vae.factor) ** 2
        return forecast(
            pictures=sum(len(spaces) for _, spaces in self._lacking()),
            captions=0,
            latent_values=values,
            width=0,
            pooled_width=0,
            dtype=self.build.dtype,
            tokens=0,
        )

    def keep(self) -> LatentCache:
        """Their cache; those that it lacks are encoded now. Raises InputError, Stopped."""
        left = self._encode()
        for _ in range(_ROUNDS - 1):
            if left:
                self.look(left)
                left = self._encode()
        if left:
            image = self.reader.dataset[left[0]].image
            raise InputError(f"{image} changes while it is read, and so do {len(left) - 1} others")
        return self._cache()

    def _encode(self) -> list[int]:
        """Encode what the spaces lack. Returns the samples that changed before they could be read."""
        lacking = self._lacking()
        count = sum(len(spaces) for _, spaces in lacking)
        for space in {space for _, spaces in lacking for space in spaces}:
            self.spaces[space].check_writable()
        changed: list[int] = []
        writers = [Writer(space, self.build.kept_dtype) for space in self.spaces]
        try:
            encoded = self._encoded(self._pictures(lacking, changed))
            for done, (picture, values) in enumerate(encoded, start=1):
                writers[picture.space].add(picture.key, values)
                self.build.done("encoding pictures", done, count)
        finally:
            for writer in writers:
                writer.flush()
        return changed

    def _cache(self) -> LatentCache:
        """All that was looked at, to be read."""
        indices = sorted({*self.known, *self.bad})
        keys = [self.known[index].key if index in self.known else bytes(32) for index in indices]
        unreadable = {self.known[index].key: reason for index, reason in self.bad.items() if index in self.known}
        alike = {
            index: self.reader.refusal(index) or unreadable[key]
            for index, key in zip(indices, keys, strict=True)
            if key in unreadable and index not in self.bad
        }
        records = tuple(Records.open(space) for space in self.spaces)
        side = self.reader.common.image_size // self.vae.factor
        return LatentCache(
            records=records,
            indices=np.array(indices, dtype=np.int64),
            places=tuple(each.find(keys) for each in records),
            bad=self.bad | alike,
            shape=(self.vae.latent_channels, side, side),
            dtype=self.build.kept_dtype,
        )

    def _lacking(self) -> list[tuple[Content, list[int]]]:
        """Contents, each once, with the numbers of the spaces that lack it."""
        distinct = list({content.key: content for content in self.known.values()}.values())
        keys = [content.key for content in distinct]
        lacks = np.stack([Records.open(space).find(keys) < 0 for space in self.spaces], axis=1)
        rows = np.flatnonzero(lacks.any(axis=1)).tolist()
        return [(distinct[row], np.flatnonzero(lacks[row]).tolist()) for row in rows]

    def _pictures(self, lacking: Sequence[tuple[Content, list[int]]], changed: list[int]) -> Iterator[_Picture]:
        contents = (content for content, _ in lacking)
        for (content, pixels), (_, spaces) in zip(self.reader.pixels(contents), lacking, strict=True):
            if pixels is None:
                changed.append(content.index)
            elif isinstance(pixels, InputError):
                self._refuse(content.index, pixels)
            else:
                for space in spaces:
                    yield _Picture(content.key, space, pixels[:, ::-1] if space else pixels)

    def _encoded(self, pictures: Iterable[_Picture]) -> Iterator[tuple[_Picture, Tensor]]:
        """Each with its mean and, perhaps, standard deviation [1 or 2, c, h, w]."""
        device, rest = device_of(self.vae), iter(pictures)
        size = encoding_chunks(device)[0]
        while chunk := [picture for _, picture in zip(range(size), rest, strict=False)]:
            images = torch.from_numpy(np.stack([picture.pixels for picture in chunk])).to(device)
            mean, spread = encode_latents(self.vae, images, self.build.dtype)
            both = mean[:, None] if spread is None else torch.stack([mean, spread], dim=1)
            yield from zip(chunk, both.cpu(), strict=True)

    def _refuse(self, index: int, error: InputError) -> None:
        """Note a picture that cannot be read, or stop where the data does not skip such."""
        if self.reader.common.on_bad_sample == "error":
            raise InputError(
                f"{error}\nMend or remove it, or set data.on_bad_sample: skip to leave such samples out"
            ) from error
        self.bad[index] = str(error)
