"""Inventory of the data of a run: how many samples are found and used, and what is left out and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dit_run.protocols import Dataset, LeavesOut, LeftOut

__all__ = ["Inventory"]


@dataclass(frozen=True)
class Inventory:
    """The samples of a dataset and of a run."""

    found: int
    used: int
    left_out: tuple[LeftOut, ...]
    """Parts that the dataset reports, and the samples that the run does not choose."""

    @classmethod
    def of(cls, dataset: Dataset, chosen: Sequence[NDArray[np.int64]], num_samples: int | None) -> Inventory:
        """Return the inventory of a run with the samples at these indices, in one or more parts."""
        reported = tuple(dataset.left_out) if isinstance(dataset, LeavesOut) else ()
        unused = np.ones(len(dataset), dtype=np.bool_)
        for part in chosen:
            unused[part] = False
        beyond = int(unused.sum())
        if beyond:
            reason = f"sample beyond data.num_samples={num_samples} (null uses all)"
            reported += (LeftOut(reason, beyond, dataset[int(unused.argmax())].key),)
        return cls(len(dataset), len(dataset) - beyond, reported)

    def lines(self) -> list[str]:
        """Return a table for people with one row for each reason; empty if nothing is left out."""
        if not self.left_out:
            return []
        width = max(len(f"{row.count:,}") for row in self.left_out)
        rows = [f"  {row.count:>{width},}  {row.reason}, such as {row.example}" for row in self.left_out]
        return [f"{self.found:,} samples found, {self.used:,} used; left out:", *rows]
