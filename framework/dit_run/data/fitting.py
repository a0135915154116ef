"""Fitting: give each sample a training size by its image, and leave out the images that the config excludes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dit_run.data.aspect_buckets import BucketedSizes, Buckets, Size, size_name
from dit_run.data.dimensions import sizes_of
from dit_run.data.fitted_sizes import FittedSizes, kept_sizes
from dit_run.data.grouping import Grouping
from dit_run.data.samples import Samples
from dit_run.problems import InputError
from dit_run.protocols import LeftOut
from dit_run.registry.kind_options import DatasetCommon

__all__ = ["Fit", "fit", "fit_held_out", "is_fitted"]

_Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Fit:
    """Results of fitting: sizes, cropping and the samples left out."""

    counts: Mapping[Size, int]
    """Number of samples of each size that has some, from the highest to the widest."""
    cropped: float
    """Mean share of an image's area that is cropped, of the samples that are used."""
    left_out: tuple[LeftOut, ...] = ()
    """Samples that were left out."""

    def lines(self) -> list[str]:
        """Return the result as lines for people."""
        sizes = ", ".join(f"{size_name(size)}: {count:,}" for size, count in self.counts.items())
        number = f"{len(self.counts)} sizes" if len(self.counts) > 1 else "1 size"
        crop = "crop" if len(self.counts) > 1 else "crops"
        lines = [f"{number} (height x width) {crop} {self.cropped:.1%} of the pixels; samples by {sizes}"]
        for row in self.left_out:
            many = "samples are" if row.count > 1 else "sample is"
            lines.append(f"{row.count:,} {many} left out: {row.reason}, such as {row.example}")
        return lines

    def with_left_out(self, other: Fit) -> Fit:
        """Return the same results with the samples that were left out elsewhere, too."""
        return replace(self, left_out=_by_reason((*self.left_out, *other.left_out)))


def is_fitted(common: DatasetCommon) -> bool:
    """Return True if the sizes of images decide what is trained on, by the options of a dataset."""
    return common.buckets is not None or common.max_crop < 1 or not common.upscale or common.min_side is not None


def fit(samples: Samples, *, unit: int, batch_size: int | None) -> tuple[Samples, Fit]:
    """Return the samples with their sizes, without those that the config excludes, and what was done.

    ``unit`` is the VAE's factor times the model's patch size; ``batch_size`` is that of micro-batches, which share a
    size, or None for an order that does not depend on sizes.

    Raises InputError for an image whose size cannot be read, unless the config skips those: they keep their place, so
    that they are reported when they are read; and if no sample of a part of the data is left.
    """
    fitted = kept_sizes(samples, unit, lambda: _fitted(samples, unit, all_parts=True), "train")
    return _with_sizes(samples, fitted, batch_size), _report(fitted)


def fit_held_out(samples: Samples, *, unit: int) -> tuple[Samples | None, Fit]:
    """Do the same with samples that are held out, of which none may be left."""
    fitted = kept_sizes(samples, unit, lambda: _fitted(samples, unit, all_parts=False), "held out")
    return _with_sizes(samples, fitted, None) if len(fitted.indices) else None, _report(fitted)


def _with_sizes(samples: Samples, fitted: FittedSizes, batch_size: int | None) -> Samples:
    if all(part.common.buckets is None for part in samples.parts.parts):
        return replace(samples, indices=fitted.indices, sizes=None, batch_size=None)
    sizes = BucketedSizes(fitted.sizes, fitted.of_sample, fitted.grouping)
    return replace(samples, indices=fitted.indices, sizes=sizes, batch_size=batch_size)


def _report(fitted: FittedSizes) -> Fit:
    counts = fitted.grouping.counts.sum(axis=1).tolist()
    by_size = {size: count for size, count in zip(fitted.sizes, counts, strict=False) if count}
    return Fit(by_size, fitted.cropped, _by_reason(fitted.left_out))


def _fitted(samples: Samples, unit: int, *, all_parts: bool) -> FittedSizes:
    """Return the sizes of samples. With ``all_parts``, raise InputError for a part of which none is left."""
    parts = _parts(samples, unit)
    for part in parts if all_parts else ():
        part.refuse_empty()
    sizes = Buckets.joined([part.buckets for part in parts]).sizes
    order = np.argsort(np.concatenate([part.places for part in parts]), kind="stable")
    kept = np.concatenate([part.kept for part in parts])[order]
    of_sample = np.concatenate([part.of_sample(sizes) for part in parts])[order][kept]
    cropped = np.concatenate([part.cropped for part in parts])[order][kept]
    indices = samples.indices[kept]
    return FittedSizes(
        indices,
        sizes,
        of_sample,
        Grouping.of(of_sample, samples.parts.number(indices)),
        float(cropped.mean()) if len(cropped) else 0.0,
        tuple(row for part in parts for row in part.left_out),
        measured=all(part.measured for part in parts),
    )


def _by_reason(rows: Sequence[LeftOut]) -> tuple[LeftOut, ...]:
    """Return one row for each reason."""
    found: dict[str, LeftOut] = {}
    for row in rows:
        before = found.get(row.reason)
        found[row.reason] = row if before is None else replace(before, count=before.count + row.count)
    return tuple(found.values())


@dataclass(frozen=True)
class _Part:
    """The sizes of the samples of one part of the data."""

    name: str
    """Empty for data that are no mixture."""
    places: NDArray[np.int64]
    """Places of the samples among those of all parts."""
    buckets: Buckets
    buckets_of_sample: NDArray[np.int64]
    cropped: NDArray[np.float64]
    kept: _Bools
    left_out: tuple[LeftOut, ...]
    measured: bool
    """False if the size of some image cannot be read."""

    def of_sample(self, sizes: tuple[Size, ...]) -> NDArray[np.int64]:
        """Return the number of each sample's size among all sizes."""
        return np.array([sizes.index(size) for size in self.buckets.sizes], dtype=np.int64)[self.buckets_of_sample]

    def refuse_empty(self) -> None:
        """Raise InputError if no sample is left."""
        if not self.kept.any():
            of_part = f" of part {self.name}" if self.name else ""
            reasons = " and ".join(row.reason for row in self.left_out)
            raise InputError(f"all {len(self.places):,} samples{of_part} are left out: {reasons}")


def _parts(samples: Samples, unit: int) -> list[_Part]:
    parts = samples.part_of_sample
    return [_part(samples, number, np.flatnonzero(parts == number), unit) for number in np.unique(parts).tolist()]


def _part(samples: Samples, number: int, places: NDArray[np.int64], unit: int) -> _Part:
    """Return the sizes of one part's samples."""
    part = samples.parts.parts[number]
    common, indices = part.common, samples.indices[places]
    buckets = Buckets.of(common, unit)
    dimensions = _measured(samples, indices, common)
    measured = bool(dimensions.all())
    dimensions[dimensions[:, 0] == 0] = common.image_size  # those are skipped later
    heights, widths = dimensions.T
    of_sample = buckets.nearest(heights, widths)
    cropped = buckets.cropped(heights, widths, of_sample)
    out = _excluded(common, np.minimum(heights, widths), cropped, buckets.enlarged(heights, widths, of_sample))
    kept = ~np.logical_or.reduce([np.zeros(len(places), dtype=np.bool_), *out.values()])
    left_out = tuple(
        LeftOut(reason, int(chosen.sum()), samples.dataset[int(indices[chosen.argmax()])].key)
        for reason, chosen in out.items()
        if chosen.any()
    )
    return _Part(part.name, places, buckets, of_sample, cropped, kept, left_out, measured)


def _measured(samples: Samples, indices: NDArray[np.int64], common: DatasetCommon) -> NDArray[np.int64]:
    """Return heights and widths of the images, [n, 2]; 0 for an unreadable one that the config skips."""

    def refuse(place: int, error: InputError) -> None:
        if common.on_bad_sample == "error":
            raise InputError(
                f"{error}\nRepair or remove it, or set data.on_bad_sample: skip to leave out such samples"
            ) from error

    return sizes_of(samples.dataset, indices, refuse)


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
