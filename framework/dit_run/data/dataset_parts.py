"""Parts of the data: the common options of each sample, which are those of its part where the dataset is a mixture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dit_run.data.shard_windows import ShardWindows
from dit_run.protocols import Dataset, DatasetPart, Mixed, Sharded
from dit_run.registry.kind_options import DatasetCommon

__all__ = ["Parts"]

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """The parts of a dataset, one after the other; a dataset that is no mixture is its only part."""

    parts: tuple[DatasetPart, ...]
    ends: Ints
    """End of each part's indices in the dataset."""
    mixed: bool
    """True for the parts of a mixture, which have names."""

    @classmethod
    def of(cls, dataset: Dataset, common: DatasetCommon) -> Parts:
        """Return the parts of a dataset with these common options."""
        mixed = isinstance(dataset, Mixed)
        parts = tuple(dataset.mixed_parts) if isinstance(dataset, Mixed) else (DatasetPart("", dataset, 1.0, common),)
        return cls(parts, np.cumsum([len(part.dataset) for part in parts], dtype=np.int64), mixed)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts of a mixture, else none."""
        return tuple(part.name for part in self.parts) if self.mixed else ()

    def number(self, indices: ArrayLike) -> Ints:
        """Return the numbers of the parts of some samples, given by their indices in the dataset."""
        return np.searchsorted(self.ends, np.asarray(indices, dtype=np.int64), side="right").astype(np.int64)

    def common(self, index: int) -> DatasetCommon:
        """Return the common options of the dataset's sample ``index``."""
        return self.parts[0 if len(self.parts) == 1 else int(self.number(index))].common

    def shard_windows(self) -> tuple[ShardWindows | None, ...]:
        """Return the windows of shards in which each part is read; None for a part that is read as a whole."""
        return tuple(self._windows(number, part) for number, part in enumerate(self.parts))

    def _windows(self, number: int, part: DatasetPart) -> ShardWindows | None:
        if part.common.shuffle_window is None or not isinstance(part.dataset, Sharded):
            return None
        return ShardWindows(part.common.shuffle_window, part.dataset.shard_starts + self.start(number))

    def start(self, number: int) -> int:
        """Return the index of the first sample of a part."""
        return int(self.ends[number - 1]) if number else 0
