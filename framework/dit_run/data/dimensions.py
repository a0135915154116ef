"""Dimensions: height and width of the images of samples, from their headers, without decoding a pixel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from dit_run.data.aspect_buckets import Size
from dit_run.data.images import image_size
from dit_run.problems import InputError
from dit_run.protocols import Dataset

__all__ = ["sizes_of"]

_READERS = 8
_AT_ONCE = 4096


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
