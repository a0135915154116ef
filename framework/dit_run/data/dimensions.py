"""Dimensions: height and width of the images of samples, from their headers, without decoding a pixel."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from struct import Struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dit_run.data.aspect_buckets import Size
from dit_run.data.headers import MAX_PIXELS
from dit_run.data.images import encoded_size, image_size
from dit_run.data.jpeg_size import jpeg_size
from dit_run.digests import cache_home
from dit_run.problems import InputError
from dit_run.protocols import Dataset, Measured, Mixed
from dit_run.system.durable import make_folder
from dit_run.system.file_ranges import FilePart
from dit_run.system.file_values import FileValues

__all__ = ["UNKNOWN", "known_sizes", "size_in", "sizes_of"]

UNKNOWN: Size = (0, 0)
"""Dimensions of an image whose header cannot be read."""
_AT_ONCE = 4096
_START = 3072
"""Bytes of a file that are read first (number)."""
_PACKED = Struct("<II")
"""A size as it is kept."""
_JPEG = b"\xff\xd8"


def known_sizes(dataset: Dataset, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return height and width of the upright images that the dataset knows, int64 [n, 2]; UNKNOWN for others."""
    if isinstance(dataset, Measured):
        return dataset.image_sizes(indices)
    sizes, first = np.full((len(indices), 2), UNKNOWN, dtype=np.int64), 0
    for part in dataset.mixed_parts if isinstance(dataset, Mixed) else ():
        own = (indices >= first) & (indices < first + len(part.dataset))
        sizes[own] = known_sizes(part.dataset, indices[own] - first)
        first += len(part.dataset)
    return sizes


def sizes_of(
    dataset: Dataset, indices: NDArray[np.int64], failed: Callable[[int, InputError], None] = lambda place, error: None
) -> NDArray[np.int64]:
    """Return height and width of the upright image of each sample, int64 [n, 2].

    Those that the dataset does not know are read from headers. ``failed`` is called with the place in ``indices`` and
    the reason for each that cannot be read, whose size is UNKNOWN; it may raise.
    """
    sizes = np.array(known_sizes(dataset, indices), dtype=np.int64)
    unknown = np.flatnonzero(sizes[:, 0] == 0)
    unknown = unknown[np.argsort(indices[unknown])]  # neighbours in a file are read together
    for place, size in zip(unknown.tolist(), _read_sizes(dataset, indices[unknown].tolist()), strict=True):
        if isinstance(size, InputError):
            failed(place, size)
        else:
            sizes[place] = size
    return sizes


def _read_sizes(dataset: Dataset, indices: Sequence[int]) -> Iterator[Size | InputError]:
    """Yield the size of each image by its header, or the reason why that cannot be read.

    Those of files are kept under :func:`~dit_run.digests.cache_home`, so that the next start reads no header.
    """
    with FileValues(_kept_sizes() if indices else None, "height_width", _PACKED.size) as kept:
        for start in range(0, len(indices), _AT_ONCE):
            images = [dataset[index].image for index in indices[start : start + _AT_ONCE]]
            files = [image for image in images if isinstance(image, Path | FilePart)]
            packed = iter([b"" if isinstance(each, OSError) else each[1] for each in kept.values(files, _packed_size)])
            for image in images:
                value = next(packed) if isinstance(image, Path | FilePart) else b""
                yield _PACKED.unpack(value) if value else _size(image)


def _kept_sizes() -> Path | None:
    """Return the file that keeps the sizes of images; None where it has no place."""
    home = cache_home()
    if home is None:
        return None
    with contextlib.suppress(OSError):
        make_folder(home / "indexes")
    return home / "indexes" / "image_sizes.sqlite"


def _packed_size(image: Path | FilePart) -> bytes:
    """Return the size of an image as bytes; no bytes for one that cannot be read."""
    start = _size_at_start(image) if isinstance(image, Path) else None
    size = start or _size(image)
    return b"" if isinstance(size, InputError) else _PACKED.pack(*size)


def _size_at_start(path: Path) -> Size | None:
    """Return the size in the first bytes of a JPEG file, which is enough for most."""
    with path.open("rb", buffering=0) as file:
        size = jpeg_size(file.read(_START))
    return size if size is not None and size[0] * size[1] <= MAX_PIXELS else None


def _size(image: Path | FilePart | Callable[[], Image.Image]) -> Size | InputError:
    try:
        return image_size(image)
    except InputError as error:
        return error


def size_in(start: bytes, whole: Callable[[], bytes]) -> Size:
    """Return height and width of an upright encoded image, or UNKNOWN.

    ``start`` is its first bytes, which are enough for most JPEG files; ``whole`` returns all of them.
    """
    if start.startswith(_JPEG):
        return jpeg_size(start) or encoded_size(start) or encoded_size(whole()) or UNKNOWN
    return encoded_size(whole()) or UNKNOWN
