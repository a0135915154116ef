"""Image reader of the cache: the content key of each sample and its pixels, read here or in worker processes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dit_run.cache.file_digests import FileDigests
from dit_run.compute.worker_pool import WorkerPool
from dit_run.data.aspect_buckets import Size
from dit_run.data.dataset_parts import Parts
from dit_run.data.images import read_image
from dit_run.digests import Stat
from dit_run.problems import InputError
from dit_run.protocols import Dataset
from dit_run.registry.fault_attribution import translate_plugin_fault
from dit_run.system.file_ranges import FilePart, state_of

__all__ = ["Content", "ImageReader", "Pixels"]

Pixels = NDArray[np.uint8]
In = TypeVar("In")
Out = TypeVar("Out")

_AHEAD = 4
_ADVICE = (
    "The same command continues with the missing records; fewer cache.num_workers take less memory, and with 0 "
    "images are read in this process"
)


@dataclass(frozen=True)
class Content:
    """The content of a sample when it was examined."""

    index: int
    """Index in the dataset."""
    key: bytes
    """SHA-256 of the image file, or of the pixels of a generated image."""
    state: Stat | None
    """Stat of the file, as signed numbers of 64 bits; None for a generated image."""


@dataclass
class ImageReader:
    """Read the images of a dataset in ``workers`` processes, or in this process if 0."""

    dataset: Dataset
    parts: Parts
    """The parts of the dataset, with the options of their samples."""
    workers: int = 0
    first: object = None
    """Object that is sent to each worker before the dataset; unpickling it may import what the dataset needs."""
    waiting: Callable[[], None] = lambda: None
    """Called about once per second while this process waits for a worker; may raise."""
    _pool: WorkerPool[Any, Any] | None = None

    def __enter__(self) -> ImageReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.close()

    def contents(
        self, indices: Sequence[int], files: FileDigests, size: Size
    ) -> Iterator[Content | tuple[int, InputError]]:
        """Yield the content of each sample, or the reason why it has none, in any order.

        The content of a generated image is that of its pixels at ``size``, (height, width).
        """
        paths: list[tuple[int, Path | FilePart]] = []
        generated: list[int] = []
        for index in indices:
            image = self.dataset[index].image
            if isinstance(image, Path | FilePart):
                paths.append((index, image))
            else:
                generated.append(index)
        for (index, path), found in zip(paths, files.digests([path for _, path in paths]), strict=True):
            if isinstance(found, OSError):
                yield _why(index, path, size)
            else:
                yield Content(index, found[1], _signed(found[0]))
        drawn = self._map(_DatasetImages.read, [(index, size) for index in generated])
        for index, pixels in zip(generated, drawn, strict=True):
            yield (index, pixels) if isinstance(pixels, InputError) else Content(index, _generated_key(pixels), None)

    def pixels(self, contents: Iterable[Content], size: Size) -> Iterator[tuple[Content, Pixels | InputError | None]]:
        """Yield uint8 [height, width, 3] of each, in order; None if the file has changed."""
        kept = list(contents)
        work = [(content, size) for content in kept]
        yield from zip(kept, self._map(_DatasetImages.read_unchanged, work), strict=True)

    def refusal(self, index: int, size: Size) -> str | None:
        """Return why a sample cannot be read, determined in this process; None if it can."""
        pixels = self._images.read((index, size))
        return str(pixels) if isinstance(pixels, InputError) else None

    @property
    def _images(self) -> _DatasetImages:
        return _DatasetImages(self.dataset, self.parts)

    def _map(self, work: Callable[[_DatasetImages, In], Out], items: Sequence[In]) -> Iterator[Out]:
        if self.workers == 0 or len(items) < 2:
            images = self._images
            return (work(images, item) for item in items)
        return self._distribute(work, items)

    def _distribute(self, work: Callable[[_DatasetImages, In], Out], items: Sequence[In]) -> Iterator[Out]:
        """Distribute work over the workers; yield results in order, with a limited number waiting."""
        if self._pool is None:
            self._pool = WorkerPool(
                _WorkerImages(self.first, self._images),
                self.workers,
                ahead=_AHEAD,
                role="worker that reads images for the cache",
                advice=_ADVICE,
                waiting=self.waiting,
            )
        return self._pool.map((work, item) for item in items)


@dataclass(frozen=True)
class _DatasetImages:
    """The images of a dataset, as a worker gets them."""

    dataset: Dataset
    parts: Parts

    def read(self, wanted: tuple[int, Size]) -> Pixels | InputError:
        index, size = wanted
        try:
            image, background = self.dataset[index].image, self.parts.common(index).alpha_background
            return np.ascontiguousarray(read_image(image, size, background=background))
        except InputError as error:
            return error

    def read_unchanged(self, wanted: tuple[Content, Size]) -> Pixels | InputError | None:
        content, size = wanted
        pixels = self.read((content.index, size))
        image = self.dataset[content.index].image
        if isinstance(image, Path | FilePart):
            state = state_of(image)
            return None if isinstance(state, OSError) or _signed(state) != content.state else pixels
        if isinstance(pixels, InputError):
            return pixels
        return pixels if _generated_key(pixels) == content.key else None


@dataclass(frozen=True)
class _WorkerImages:
    """Images as a worker gets them."""

    first: object
    """First, so that unpickling imports what the dataset needs."""
    images: _DatasetImages

    def __call__(self, request: tuple[Callable[[_DatasetImages, In], Out], In]) -> Out:
        work, item = request
        with translate_plugin_fault():
            return work(self.images, item)


def _generated_key(pixels: Pixels) -> bytes:
    return hashlib.sha256(b"drawn" + pixels.tobytes()).digest()


def _signed(state: Stat) -> Stat:
    """Return the numbers of a stat modulo 2**64, as an array of int64 holds them; some inodes need the last bit."""
    size, written, changed, inode = ((number + 2**63) % 2**64 - 2**63 for number in state)
    return size, written, changed, inode


def _why(index: int, path: Path | FilePart, size: Size) -> tuple[int, InputError]:
    """Return the error of reading an image that has no digest."""
    try:
        read_image(path, size)
    except InputError as error:
        return index, error
    return index, InputError(f"cannot read the image {path}: it changes during the read")
