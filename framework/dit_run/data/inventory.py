"""Inventory of the data of a run: how many samples are found and used, and what is left out and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dit_run.data.samples import Samples
from dit_run.protocols import LeavesOut, LeftOut

__all__ = ["Inventory"]


@dataclass(frozen=True)
class Inventory:
    """The samples of a dataset and of a run."""

    found: int
    used: int
    left_out: tuple[LeftOut, ...]
    """Parts that the dataset reports, and the samples that the run does not choose."""

    @classmethod
    def of(cls, chosen: Sequence[Samples]) -> Inventory:
        """Return the inventory of a run with these samples of one dataset."""
        dataset, parts = chosen[0].dataset, chosen[0].parts
        reported = tuple(dataset.left_out) if isinstance(dataset, LeavesOut) else ()
        if sum(map(len, chosen)) == len(dataset):  # each is chosen once at most
            return cls(len(dataset), len(dataset), reported)
        unused = np.ones(len(dataset), dtype=np.bool_)
        for samples in chosen:
            unused[samples.indices] = False
        for number, part in enumerate(parts.parts):
            beyond = np.flatnonzero(unused[parts.start(number) : int(parts.ends[number])])
            if len(beyond):
                of_part = f" of part {part.name}" if part.name else ""
                reason = f"sample beyond data.num_samples={part.common.num_samples}{of_part} (null uses all)"
                reported += (LeftOut(reason, len(beyond), dataset[parts.start(number) + int(beyond[0])].key),)
        return cls(len(dataset), len(dataset) - int(unused.sum()), reported)

    def lines(self) -> list[str]:
        """Return a table for people with one row for each reason; empty if nothing is left out."""
        if not self.left_out:
            return []
        width = max(len(f"{row.count:,}") for row in self.left_out)
        rows = [f"  {row.count:>{width},}  {row.reason}, such as {row.example}" for row in self.left_out]
        return [f"{self.found:,} samples found, {self.used:,} used; left out:", *rows]
