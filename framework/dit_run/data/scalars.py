"""Scalars: the named numbers of each visit that a model takes, from the data or from the image itself.

The original size and the crop are those of SDXL (Podell et al. 2023, section 2.2): the crop is the place of the top
left corner in pixels of the image after it was resized.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dit_run.data.aspect_buckets import Size
from dit_run.data.dimensions import sizes_of
from dit_run.data.resizing import box_of
from dit_run.data.scalar_columns import is_scalar
from dit_run.problems import InputError
from dit_run.protocols import Dataset, Sample

__all__ = ["OF_IMAGES", "Scalars", "of_whole_image"]

OF_IMAGES = ("original_height", "original_width", "crop_top", "crop_left")
"""Names of the scalars that every image has."""


@dataclass(frozen=True)
class Scalars:
    """The scalars of the samples of a dataset that a model takes."""

    names: tuple[str, ...]
    dimensions: NDArray[np.int64] | None = None
    """Height and width of each image, by its index in the dataset, int64 [n, 2]; 0 for those that cannot be read.
    None where no scalar needs them."""

    @classmethod
    def of(cls, names: Sequence[str], dataset: Dataset, indices: NDArray[np.int64]) -> Scalars:
        """Return the scalars of these samples, of which every one has all names.

        Raises InputError where samples lack a scalar, and for one that is no finite number.
        """
        _check(names, dataset, indices)
        if not set(OF_IMAGES).intersection(names):
            return cls(tuple(names))
        dimensions = np.zeros((len(dataset), 2), dtype=np.int64)
        dimensions[indices] = sizes_of(dataset, indices)
        return cls(tuple(names), dimensions)

    def values(self, sample: Sample, index: int, size: Size, offset: float, flip: bool) -> tuple[float, ...]:
        """Return the scalars of a visit, in the order of the names."""
        if not self.names:
            return ()
        given: Mapping[str, float] = sample.scalars
        if self.dimensions is not None:
            height, width = self.dimensions[index].tolist()
            given = {**of_crop(height or size[0], width or size[1], size, offset, flip), **given}
        return tuple(given[name] for name in self.names)

    def means(self, dataset: Dataset, indices: NDArray[np.int64]) -> dict[str, float]:
        """Return the mean of each scalar that comes from the data, over these samples."""
        names = [name for name in self.names if name not in OF_IMAGES]
        if not names:
            return {}
        rows = ([dataset[index].scalars[name] for name in names] for index in indices.tolist())
        return dict(zip(names, np.mean(list(rows), axis=0).tolist(), strict=True))


def of_crop(height: int, width: int, size: Size, offset: float, flip: bool) -> dict[str, float]:
    """Return the scalars of an image of this height and width that is resized and cropped to a size."""
    left, top, right, bottom = box_of(width, height, size, offset)
    first = width - right if flip else left
    crop = top * size[0] / (bottom - top), first * size[1] / (right - left)
    return dict(zip(OF_IMAGES, (float(height), float(width), *map(float, map(round, crop))), strict=True))


def of_whole_image(size: Size) -> dict[str, float]:
    """Return the scalars of an image that has a size and is not cropped."""
    return of_crop(*size, size, 0.5, flip=False)


def _check(names: Sequence[str], dataset: Dataset, indices: NDArray[np.int64]) -> None:
    lacking: dict[str, list[str]] = {name: [] for name in names}
    for index in indices.tolist():
        sample = dataset[index]
        for name in names:
            if name not in sample.scalars:
                lacking[name].append(sample.key)
            elif not is_scalar(sample.scalars[name]):
                raise InputError(
                    f"the scalar {name!r} of the sample {sample.key} is {sample.scalars[name]}; a model takes finite "
                    "numbers in float32 (model.scalars)"
                )
    for name, keys in lacking.items():
        if keys and name not in OF_IMAGES:
            count = f"{len(keys):,} of {len(indices):,} samples do not have it, such as {keys[0]}"
            who = "no sample of the data has it" if len(keys) == len(indices) else count
            raise InputError(
                f"the model takes the scalar {name!r} (model.scalars), and {who}. Add a column {name!r} of numbers to "
                f"the metadata, or leave it out of model.scalars; images themselves have {', '.join(OF_IMAGES)}"
            )
