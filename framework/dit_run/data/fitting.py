"""Fitting: give each sample a training size by its image, and leave out the images that the config excludes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dit_run.data.aspect_buckets import Buckets, Size, size_name
from dit_run.data.dimensions import sizes_of
from dit_run.data.samples import BucketedSizes, Samples
from dit_run.problems import InputError
from dit_run.registry.kinds import DatasetCommon

__all__ = ["Fit", "fit", "is_fitted"]

_Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Fit:
    """Results of fitting: sizes, cropping and the samples left out."""

    counts: Mapping[Size, int]
    """Number of samples of each size that has some, from the highest to the widest."""
    cropped: float
    """Mean share of an image's area that is cropped, of the samples that are used."""
    left_out: Mapping[str, tuple[str, ...]]
    """Keys of the samples that were left out, by reason."""

    def lines(self) -> list[str]:
        """Return the result as lines for people."""
        sizes = ", ".join(f"{size_name(size)}: {count:,}" for size, count in self.counts.items())
        lines = [f"{len(self.counts)} sizes (height x width) crop {self.cropped:.1%} of the pixels; samples by {sizes}"]
        for reason, keys in self.left_out.items():
            lines.append(f"{len(keys):,} samples are left out: {reason}, such as {keys[0]}")
        return lines


def is_fitted(common: DatasetCommon) -> bool:
    """Return True if the sizes of images decide what is trained on."""
    return common.buckets is not None or common.max_crop < 1 or not common.upscale or common.min_side is not None


def fit(samples: Samples, *, unit: int, batch_size: int | None) -> tuple[Samples, Fit]:
    """Return the samples with their sizes, without those that the config excludes, and what was done.

    ``unit`` is the VAE's factor times the model's patch size; ``batch_size`` is that of micro-batches, which share a
    size, or None for an order that does not depend on sizes.

    Raises InputError for an image whose size cannot be read, unless the config skips those: they keep their place, so
    that they are reported when they are read; and if no sample is left.
    """
    common = samples.common
    buckets = Buckets.of(common, unit)
    heights, widths = _measured(samples)
    of_sample = buckets.nearest(heights, widths)
    cropped = buckets.cropped(heights, widths, of_sample)
    out = _excluded(common, np.minimum(heights, widths), cropped, buckets.enlarged(heights, widths, of_sample))
    kept = ~np.logical_or.reduce([np.zeros(len(samples), dtype=np.bool_), *out.values()])
    if not kept.any():
        raise InputError(f"all {len(samples):,} samples are left out by {' and '.join(out)} (data)")
    left_out = {reason: _keys(samples, chosen) for reason, chosen in out.items() if chosen.any()}
    counts = np.bincount(of_sample[kept], minlength=len(buckets.sizes)).tolist()
    by_size = {size: count for size, count in zip(buckets.sizes, counts, strict=True) if count}
    fitted = replace(
        samples,
        indices=samples.indices[kept],
        sizes=None if common.buckets is None else BucketedSizes(buckets.sizes, of_sample[kept]),
        batch_size=None if common.buckets is None else batch_size,
    )
    return fitted, Fit(by_size, float(cropped[kept].mean()), left_out)


def _measured(samples: Samples) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return heights and widths of the images; those of a square for an unreadable one that is skipped later."""
    square = (samples.common.image_size, samples.common.image_size)
    sizes: list[Size] = []
    for found in sizes_of(samples.dataset, samples.indices.tolist()):
        if isinstance(found, InputError) and samples.common.on_bad_sample == "error":
            raise InputError(
                f"{found}\nRepair or remove it, or set data.on_bad_sample: skip to leave out such samples"
            ) from found
        sizes.append(square if isinstance(found, InputError) else found)
    heights, widths = np.array(sizes, dtype=np.int64).T
    return heights, widths


def _excluded(
    common: DatasetCommon, shorter: NDArray[np.int64], cropped: NDArray[np.float64], enlarged: _Bools
) -> dict[str, _Bools]:
    """Return which samples each key of the config leaves out, by a text that names the key."""
    rules: dict[str, Callable[[], _Bools]] = {}
    if common.min_side is not None:
        least = common.min_side
        rules[f"a side has fewer than {least} pixels (data.min_side)"] = lambda: shorter < least
    if not common.upscale:
        rules["smaller than their training size (data.upscale: false)"] = lambda: enlarged
    if common.max_crop < 1:
        rules[f"more than {common.max_crop:.0%} would be cropped (data.max_crop)"] = lambda: cropped > common.max_crop
    return {reason: rule() for reason, rule in rules.items()}


def _keys(samples: Samples, chosen: _Bools) -> tuple[str, ...]:
    return tuple(samples.dataset[index].key for index in samples.indices[chosen].tolist())
