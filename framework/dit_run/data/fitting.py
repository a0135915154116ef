"""Fitting: give each sample a training size by its image, and leave out the images that the config excludes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dit_run.data.aspect_buckets import Buckets, Size, size_name
from dit_run.data.dimensions import known_sizes, sizes_of
from dit_run.data.samples import BucketedSizes, Samples
from dit_run.problems import InputError
from dit_run.registry.kind_options import DatasetCommon

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
    """Return True if the sizes of images decide what is trained on, by the options of a dataset."""
    return common.buckets is not None or common.max_crop < 1 or not common.upscale or common.min_side is not None


def fit(samples: Samples, *, unit: int, batch_size: int | None) -> tuple[Samples, Fit]:
    """Return the samples with their sizes, without those that the config excludes, and what was done.

    ``unit`` is the VAE's factor times the model's patch size; ``batch_size`` is that of micro-batches, which share a
    size, or None for an order that does not depend on sizes.

    Raises InputError for an image whose size cannot be read, unless the config skips those: they keep their place, so
    that they are reported when they are read; and if no sample is left.
    """
    parts = samples.part_of_sample
    groups = [_part(samples, number, np.flatnonzero(parts == number), unit) for number in np.unique(parts).tolist()]
    sizes = Buckets.joined([group.buckets for group in groups]).sizes
    order = np.argsort(np.concatenate([group.places for group in groups]), kind="stable")
    kept = np.concatenate([group.kept for group in groups])[order]
    of_sample = np.concatenate([group.of_sample(sizes) for group in groups])[order][kept]
    counts = np.bincount(of_sample, minlength=len(sizes)).tolist()
    sized = any(part.common.buckets is not None for part in samples.parts.parts)
    fitted = replace(
        samples,
        indices=samples.indices[kept],
        sizes=BucketedSizes(sizes, of_sample) if sized else None,
        batch_size=batch_size if sized else None,
    )
    left_out: dict[str, tuple[str, ...]] = {}
    for group in groups:
        for reason, keys in group.left_out.items():
            left_out[reason] = left_out.get(reason, ()) + keys
    cropped = np.concatenate([group.cropped for group in groups])[order][kept]
    by_size = {size: count for size, count in zip(sizes, counts, strict=True) if count}
    return fitted, Fit(by_size, float(cropped.mean()), left_out)


@dataclass(frozen=True)
class _Part:
    """The sizes of the samples of one part of the data."""

    places: NDArray[np.int64]
    """Places of the samples among those of all parts."""
    buckets: Buckets
    buckets_of_sample: NDArray[np.int64]
    cropped: NDArray[np.float64]
    kept: _Bools
    left_out: Mapping[str, tuple[str, ...]]

    def of_sample(self, sizes: tuple[Size, ...]) -> NDArray[np.int64]:
        """Return the number of each sample's size among all sizes."""
        return np.array([sizes.index(size) for size in self.buckets.sizes], dtype=np.int64)[self.buckets_of_sample]


def _part(samples: Samples, number: int, places: NDArray[np.int64], unit: int) -> _Part:
    """Return the sizes of one part's samples. Raises InputError if none is left."""
    part = samples.parts.parts[number]
    common, indices = part.common, samples.indices[places]
    buckets = Buckets.of(common, unit)
    heights, widths = _measured(samples, indices, common)
    of_sample = buckets.nearest(heights, widths)
    cropped = buckets.cropped(heights, widths, of_sample)
    out = _excluded(common, np.minimum(heights, widths), cropped, buckets.enlarged(heights, widths, of_sample))
    kept = ~np.logical_or.reduce([np.zeros(len(places), dtype=np.bool_), *out.values()])
    if not kept.any():
        of_part = f" of part {part.name}" if part.name else ""
        raise InputError(f"all {len(places):,} samples{of_part} are left out by {' and '.join(out)} (data)")
    left_out = {reason: _keys(samples, indices[chosen]) for reason, chosen in out.items() if chosen.any()}
    return _Part(places, buckets, of_sample, cropped, kept, left_out)


def _measured(
    samples: Samples, indices: NDArray[np.int64], common: DatasetCommon
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return heights and widths of the images; those of a square for an unreadable one that is skipped later."""
    square = (common.image_size, common.image_size)
    sizes = known_sizes(samples.dataset, indices)
    unknown = np.flatnonzero(sizes[:, 0] == 0)
    unknown = unknown[np.argsort(indices[unknown])]  # neighbours in a file are read together
    found = sizes_of(samples.dataset, indices[unknown].tolist())
    for place, size in zip(unknown.tolist(), found, strict=True):
        if isinstance(size, InputError) and common.on_bad_sample == "error":
            raise InputError(
                f"{size}\nRepair or remove it, or set data.on_bad_sample: skip to leave out such samples"
            ) from size
        sizes[place] = square if isinstance(size, InputError) else size
    return sizes[:, 0], sizes[:, 1]


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


def _keys(samples: Samples, indices: NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(samples.dataset[index].key for index in indices.tolist())
