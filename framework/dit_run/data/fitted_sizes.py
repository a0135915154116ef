"""Fitted sizes: the training size of each sample, kept for the next start of a run on the same images."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dit_run.data.aspect_buckets import Buckets, Size
from dit_run.data.column_files import Columns, array_digest
from dit_run.data.grouping import Grouping
from dit_run.data.kept_columns import is_large, kept
from dit_run.data.samples import Samples
from dit_run.protocols import IdentifiedImages, LeftOut

__all__ = ["FittedSizes", "kept_sizes"]

_VERSION = 1
"""Version of the rules that fit images to sizes, raised when an image gets another size."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FittedSizes:
    """The sizes of samples, without the samples that are left out."""

    indices: Ints
    """Indices of the samples in the dataset."""
    sizes: tuple[Size, ...]
    of_sample: Ints
    """Number of the size of each sample."""
    grouping: Grouping
    """The samples by size and part."""
    cropped: float
    """Mean share of an image's area that is cropped."""
    left_out: tuple[LeftOut, ...]
    measured: bool
    """False if the size of some image could not be read, which may be different next time."""

    def columns(self) -> Columns:
        report = {
            "sizes": self.sizes,
            "shape": self.grouping.counts.shape,
            "counts": self.grouping.counts.ravel().tolist(),
            "cropped": self.cropped,
            "left_out": [[row.reason, row.count, row.example] for row in self.left_out],
            "measured": self.measured,
        }
        arrays = {"indices": self.indices, "of_sample": self.of_sample, "places": self.grouping.places}
        return Columns({**arrays, "report": np.frombuffer(json.dumps(report).encode(), dtype=np.uint8)})

    @classmethod
    def of(cls, columns: Columns) -> FittedSizes:
        report = _report(columns)
        sizes = tuple((height, width) for height, width in report["sizes"])
        counts = np.array(report["counts"], dtype=np.int64).reshape(report["shape"])
        return cls(
            columns["indices"],
            sizes,
            columns["of_sample"],
            Grouping(columns["places"], counts),
            report["cropped"],
            tuple(LeftOut(*row) for row in report["left_out"]),
            report["measured"],
        )


def kept_sizes(samples: Samples, unit: int, find: Callable[[], FittedSizes], purpose: str) -> FittedSizes:
    """Return the sizes of samples, kept ones where the images are known; else those that ``find`` returns.

    ``unit`` is what sizes are multiples of. Sizes of one ``purpose`` are not used for another. Raises as ``find`` does.
    """
    dataset = samples.dataset
    identity = dataset.images_identity if isinstance(dataset, IdentifiedImages) else None
    if identity is None or not is_large(len(samples)):
        return find()
    parts = samples.parts.parts
    rules = [[asdict(part.common), Buckets.of(part.common, unit).sizes] for part in parts]
    name = ["sizes", _VERSION, purpose, identity, samples.parts.ends.tolist(), rules, array_digest(samples.indices)]
    lasting = partial(_value, "measured")
    return FittedSizes.of(kept(name, lambda: find().columns(), verified=True, lasting=lasting))


def _report(columns: Columns) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(columns["report"].tobytes())
    return report


def _value(name: str, columns: Columns) -> bool:
    return bool(_report(columns)[name])
