"""Encoding of images: one process encodes those whose latents are missing, and writes the records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dit_run.cache.builder import Build
from dit_run.cache.image_reader import Content, ImageReader, Pixels
from dit_run.cache.space import Space, Writer
from dit_run.compute.devices import encoding_chunks, move
from dit_run.data.aspect_buckets import Size
from dit_run.model.codec import device_of, encode_latents
from dit_run.problems import InputError
from dit_run.protocols import ImageEncoder

__all__ = ["ENCODING", "EncodedImages", "ImageEncoding"]

ENCODING = "encoding images"
"""Name of the phase."""


@dataclass(frozen=True)
class _Image:
    """An image to encode."""

    key: bytes
    space: int
    pixels: Pixels


@dataclass(frozen=True)
class EncodedImages:
    """The result of encoding in one process."""

    changed: list[int]
    """Samples that changed before they were read."""
    bad: dict[int, str]
    """Reason why a sample cannot be read, by index."""
    shards: list[list[str]]
    """File names of the shards that were written, for each space."""


@dataclass
class ImageEncoding:
    """The encoding of images by one process."""

    build: Build
    vae: ImageEncoder
    reader: ImageReader
    size: Size
    spaces: tuple[Space, ...]
    """A space for the images, and one for mirrored ones if the part has them."""
    skipped: Callable[[InputError], str]
    """Returns the reason why an unreadable image is skipped, or raises InputError."""
    _changed: list[int] = field(default_factory=list)
    _bad: dict[int, str] = field(default_factory=dict)

    def write(self, contents: Iterable[Content], missing: NDArray[np.bool_]) -> EncodedImages:
        """Encode these contents for the spaces where they are missing, [n, spaces]. Raises InputError and Stopped."""
        for space in np.flatnonzero(missing.any(axis=0)).tolist():
            self.spaces[space].check_writable()
        writers = [Writer(space, self.build.stored_dtype) for space in self.spaces]
        try:
            encoded, count = self._encoded(self._images(contents, missing)), int(missing.sum())
            for done, (image, values) in enumerate(encoded, start=1):
                writers[image.space].add(image.key, values)
                self.build.done(ENCODING, done, count)
        finally:
            for writer in writers:
                writer.flush()
        return EncodedImages(self._changed, self._bad, [writer.names for writer in writers])

    def _images(self, contents: Iterable[Content], missing: NDArray[np.bool_]) -> Iterator[_Image]:
        """Yield the images; note the samples that have none."""
        for (content, pixels), spaces in zip(self.reader.pixels(contents, self.size), missing, strict=True):
            if pixels is None:
                self._changed.append(content.index)
            elif isinstance(pixels, InputError):
                self._bad[content.index] = self.skipped(pixels)
            else:
                for space in np.flatnonzero(spaces).tolist():
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
