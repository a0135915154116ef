"""Aspect-ratio buckets: the sizes that a run trains on, and the size of each image.

An image takes the size whose aspect ratio is nearest to its own (by the logarithm), is resized to cover that size, and
is cropped at the two sides that stand out. Sizes are (height, width) in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dit_run.data.grouping import Grouping
from dit_run.registry.kind_options import AUTO, DatasetCommon

__all__ = ["BucketedSizes", "Buckets", "Size", "cropped_share", "preset_sizes", "size_name"]

Size = tuple[int, int]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_MAX_ASPECT = 2.0
_STEPS_PER_SIDE = 16
_LEAST_STEP = 8
_AT_ONCE = 65536
"""Images that are compared with all sizes at a time (number)."""


def size_name(size: Size) -> str:
    """Return the text of a size: ``208x304`` for height 208 and width 304."""
    return f"{size[0]}x{size[1]}"


def preset_sizes(side: int, unit: int = 1) -> tuple[Size, ...]:
    """Return sizes of at most side² pixels, from 1:2 to 2:1, by aspect ratio from the highest to the widest.

    For each multiple of the step that is the shorter side, the longer side is the largest multiple that fits the area.
    The step is about 1/16 of ``side`` and a multiple of ``unit``, the VAE's factor times the model's patch size.
    """
    step = lcm(max(_LEAST_STEP, side // _STEPS_PER_SIDE // _LEAST_STEP * _LEAST_STEP), unit)
    longer_of = {shorter: side * side // shorter // step * step for shorter in range(step, side + 1, step)}
    wide = {
        max(longer, shorter): shorter
        for shorter, longer in longer_of.items()
        if shorter <= longer <= _MAX_ASPECT * shorter
    }
    upright = [(longer, shorter) for longer, shorter in wide.items()]
    sizes = {*upright, *((width, height) for height, width in upright)} or {(side, side)}
    return tuple(sorted(sizes, key=_by_aspect))


def _by_aspect(size: Size) -> tuple[float, Size]:
    return size[1] / size[0], size


@dataclass(frozen=True)
class Buckets:
    """Different sizes, from the highest to the widest."""

    sizes: tuple[Size, ...]

    @classmethod
    def of(cls, common: DatasetCommon, unit: int = 1) -> Buckets:
        """Return the buckets of a config: written sizes, the preset list for ``auto``, or one square."""
        if common.buckets == AUTO:
            return cls(preset_sizes(common.image_size, unit))
        written = common.written_sizes() or ((common.image_size, common.image_size),)
        return cls(tuple(sorted(written, key=_by_aspect)))

    @classmethod
    def joined(cls, parts: Sequence[Buckets]) -> Buckets:
        """Return all sizes of some buckets."""
        return cls(tuple(sorted({size for part in parts for size in part.sizes}, key=_by_aspect)))

    def nearest(self, heights: ArrayLike, widths: ArrayLike) -> Ints:
        """Return the number of the bucket of images of these sizes, int64 [n].

        Of several sizes with the same aspect ratio, an image takes the largest one that it covers without being
        enlarged, or the smallest of them.
        """
        high, wide = np.atleast_1d(np.asarray(heights)), np.atleast_1d(np.asarray(widths))
        starts = range(0, len(high), _AT_ONCE)
        blocks = [self._nearest(high[start : start + _AT_ONCE], wide[start : start + _AT_ONCE]) for start in starts]
        return np.concatenate([np.empty(0, np.int64), *blocks])

    def _nearest(self, heights: NDArray[Any], widths: NDArray[Any]) -> Ints:
        high, wide = heights.astype(np.float64), widths.astype(np.float64)
        bucket_high, bucket_wide = np.asarray(self.sizes, dtype=np.float64).T
        distance = np.abs(np.log(wide / high)[:, None] - np.log(bucket_wide / bucket_high))
        near = distance <= distance.min(axis=1, keepdims=True) + 1e-9
        area = bucket_high * bucket_wide
        covered = (high[:, None] >= bucket_high) & (wide[:, None] >= bucket_wide)
        rank = np.where(covered, area, -area)
        chosen: Ints = np.argmax(np.where(near, rank, -np.inf), axis=1)
        return chosen

    def cropped(self, heights: ArrayLike, widths: ArrayLike, buckets: ArrayLike) -> Floats:
        """Return the share of each image's area that its bucket cuts off, float [n] in [0, 1)."""
        return cropped_share(heights, widths, np.asarray(self.sizes)[np.asarray(buckets, dtype=np.int64)])

    def enlarged(self, heights: ArrayLike, widths: ArrayLike, buckets: ArrayLike) -> NDArray[np.bool_]:
        """Return True for each image that must be enlarged to cover its bucket, bool [n]."""
        sizes = np.asarray(self.sizes, dtype=np.int64)[np.asarray(buckets, dtype=np.int64)]
        smaller: NDArray[np.bool_] = (np.asarray(heights) < sizes[:, 0]) | (np.asarray(widths) < sizes[:, 1])
        return smaller


def cropped_share(heights: ArrayLike, widths: ArrayLike, sizes: NDArray[Any]) -> Floats:
    """Return the share of each image's area that is cut off at its size, (height, width) in ``sizes`` [n, 2]."""
    own = np.asarray(widths, dtype=np.float64) / np.asarray(heights, dtype=np.float64)
    wanted = sizes[:, 1].astype(np.float64) / sizes[:, 0]
    share: Floats = 1.0 - np.minimum(own, wanted) / np.maximum(own, wanted)
    return share


@dataclass(frozen=True)
class BucketedSizes:
    """The sizes of a run with buckets, and which of them each sample has."""

    sizes: tuple[Size, ...]
    of_sample: NDArray[np.int64]
    """Number of the size of each sample, in the order of the samples."""
    grouping: Grouping | None = None
    """The samples by their sizes and parts, where that is known already."""

    def __getitem__(self, chosen: NDArray[Any]) -> BucketedSizes:
        """Return the sizes of some of the samples, chosen by numpy's rules for an index."""
        return BucketedSizes(self.sizes, self.of_sample[chosen])
