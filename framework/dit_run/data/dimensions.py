"""Dimensions: height and width of the images of samples, from their headers, without decoding a pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dit_run.data.aspect_buckets import Size
from dit_run.data.images import encoded_size, image_size
from dit_run.data.jpeg_size import jpeg_size
from dit_run.problems import InputError
from dit_run.protocols import Dataset, Measured, Mixed

__all__ = ["UNKNOWN", "known_sizes", "size_in", "sizes_of"]

UNKNOWN: Size = (0, 0)
"""Dimensions of an image whose header cannot be read."""
_READERS = 8
_AT_ONCE = 4096
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


def sizes_of(dataset: Dataset, indices: Sequence[int]) -> Iterator[Size | InputError]:
    """Yield height and width of the upright image of each sample, or the reason why they cannot be read."""
    with ThreadPoolExecutor(_READERS) as readers:
        for start in range(0, len(indices), _AT_ONCE):
            chunk: Iterable[int] = indices[start : start + _AT_ONCE]
            yield from readers.map(partial(_size, dataset), chunk)


def _size(dataset: Dataset, index: int) -> Size | InputError:
    try:
        return image_size(dataset[index].image)
    except InputError as error:
        return error


def size_in(start: bytes, whole: Callable[[], bytes]) -> Size:
    """Return height and width of an upright encoded image, or UNKNOWN.

    ``start`` is its first bytes, which are enough for most JPEG files; ``whole`` returns all of them.
    """
    if start.startswith(_JPEG):
        return jpeg_size(start) or encoded_size(start) or encoded_size(whole()) or UNKNOWN
    return encoded_size(whole()) or UNKNOWN
