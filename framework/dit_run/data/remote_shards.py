"""Remote shards of the samples of a run: which of them some positions need, and their sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dit_run.data.samples import Samples
from dit_run.data.shard_sources import InShards, RemoteShard
from dit_run.system.units import size_text

__all__ = ["RemoteShards"]


@dataclass(frozen=True, eq=False)
class RemoteShards:
    """The remote shards of all parts of the data."""

    samples: Samples
    shards: tuple[RemoteShard | None, ...]
    """Shard of each range of samples; None for a range that is not remote."""
    ends: NDArray[np.int64]
    """End of the indices of each range in the dataset."""

    @classmethod
    def of(cls, samples: Samples) -> RemoteShards | None:
        """Return the remote shards of these samples; None if there are none."""
        shards, ends = list[RemoteShard | None](), list[int]()
        for number, part in enumerate(samples.parts.parts):
            if isinstance(part.dataset, InShards):
                shards += [shard if isinstance(shard, RemoteShard) else None for shard in part.dataset.shards]
                ends += (part.dataset.shard_starts[1:] + samples.parts.start(number)).tolist()
            else:
                shards.append(None)
                ends.append(int(samples.parts.ends[number]))
        return cls(samples, tuple(shards), np.array(ends)) if any(shards) else None

    def needed(self, positions: Sequence[int]) -> list[int]:
        """Return the numbers of the remote shards that these positions need, each once, in the order of need."""
        _, places = self.samples.order.visits(positions)
        numbers = np.searchsorted(self.ends, self.samples.indices[places], side="right")
        return [number for number in dict.fromkeys(numbers.tolist()) if self.shards[number] is not None]

    def notice(self) -> str | None:
        """Return what to do where shards would be downloaded again and again; None if they are not."""
        parts = [part for part in self.samples.parts.parts if isinstance(part.dataset, InShards)]
        remote = [shard for shard in self.shards if shard is not None]
        total, limit = sum(shard.bytes for shard in remote), remote[0].cache.limit
        if total <= limit or all(part.common.shuffle_window is not None for part in parts):
            return None
        return (
            f"the remote shards have {size_text(total)}, more than cache.shards_gb={limit / 1e9:g} holds, and samples "
            "come from any of them: set data.shuffle_window, so that each shard is downloaded once per epoch"
        )
