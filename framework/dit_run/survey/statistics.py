"""Statistics of data: sizes and aspects of images, captions per image, tokens per caption, and unreadable images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from dit_run.data.aspect_buckets import Buckets, cropped_share
from dit_run.data.dimensions import sizes_of
from dit_run.data.images import read_image
from dit_run.data.samples import Samples
from dit_run.problems import InputError
from dit_run.protocols import Dataset, TextEncoder

__all__ = ["ImageStatistics", "TextStatistics"]

Ints = NDArray[np.int64]

DECODED = 500
"""Images that are decoded to find broken ones; of the others the header is read (number)."""
COUNTED = 20_000
"""Captions whose tokens are counted (number)."""
_CHUNK = 256
_READERS = 4
_TINY = (8, 8)


@dataclass(frozen=True)
class ImageStatistics:
    """Sizes of the images of some samples, and the number of their captions."""

    indices: Ints
    """Index of each readable sample in the dataset."""
    heights: Ints
    widths: Ints
    """Size of each of these images, upright (pixels)."""
    captions: Ints
    """Captions of each of these images (number)."""
    broken: Mapping[str, str]
    """Reason why an image cannot be read, by the sample's key."""
    decoded: int
    """Images that were decoded, not only their headers read (number)."""

    @classmethod
    def of(cls, dataset: Dataset, indices: Sequence[int]) -> ImageStatistics:
        """Read the header of every image, and decode the first :data:`DECODED`."""
        errors = _undecodable(dataset, indices[:DECODED])
        sizes = sizes_of(dataset, np.array(indices, dtype=np.int64), errors.__setitem__)
        readable = np.array([place not in errors for place in range(len(indices))], dtype=np.bool_)
        kept = np.array(indices, dtype=np.int64)[readable]
        heights, widths = sizes[readable].T
        captions = np.array([len(dataset[index].captions) for index in kept.tolist()], dtype=np.int64)
        broken = {dataset[indices[place]].key: str(errors[place]) for place in sorted(errors)}
        return cls(kept, heights, widths, captions, broken, min(DECODED, len(indices)))

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def sides(self) -> NDArray[np.float64]:
        """Side of a square of each image's area (pixels)."""
        sides: NDArray[np.float64] = np.sqrt(self.heights * self.widths)
        return sides

    def cropped(self, buckets: Buckets) -> NDArray[np.float64]:
        """Return the share of each image's area that training on these sizes cuts off."""
        return self.cropped_to(np.array(buckets.sizes)[buckets.nearest(self.heights, self.widths)])

    def cropped_to(self, sizes: Ints) -> NDArray[np.float64]:
        """Return the share of each image's area that training at these sizes, int64 [n, 2], cuts off."""
        return cropped_share(self.heights, self.widths, sizes)


def _undecodable(dataset: Dataset, indices: Sequence[int]) -> dict[int, InputError]:
    """Return the reason for each image that cannot be decoded, by its place in ``indices``."""
    with ThreadPoolExecutor(_READERS) as readers:
        errors = readers.map(partial(_decoding_error, dataset), indices)
        return {place: error for place, error in enumerate(errors) if error is not None}


def _decoding_error(dataset: Dataset, index: int) -> InputError | None:
    try:
        read_image(dataset[index].image, _TINY)
    except InputError as error:
        return error
    return None


@dataclass(frozen=True)
class TextStatistics:
    """Tokens of captions."""

    tokens: Ints
    """Tokens of each counted caption, at most :attr:`limit` (number)."""
    limit: int
    """Largest number of tokens that the text encoder takes."""
    longer: int
    """Captions that are longer than that; the rest of them is ignored (number)."""
    total: int
    """All captions (number)."""

    @classmethod
    def of(cls, samples: Sequence[Samples], text: TextEncoder) -> TextStatistics:
        """Tokenize the captions of samples, as the model reads them; of very many the first :data:`COUNTED`."""
        shown = (text for each in samples for index in each.indices.tolist() for text in each.texts(index))
        counted = list(islice(shown, COUNTED))
        parts = [text.tokenize(counted[start : start + _CHUNK]) for start in range(0, len(counted), _CHUNK)]
        tokens = np.concatenate([part.mask.sum(1).numpy() for part in parts]).astype(np.int64)
        return cls(tokens, text.max_length, sum(part.truncated for part in parts), len(counted) + sum(1 for _ in shown))
