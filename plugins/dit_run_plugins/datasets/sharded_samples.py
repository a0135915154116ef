"""Samples in shards: their indices, and which shard, and which place in it, a sample has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dit_run.digests import combined
from dit_run.protocols import LeftOut

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dit_run.data.shard_sources import ShardSource

__all__ = ["ShardToIndex", "ShardedSamples", "identity_of", "starts_of"]


@dataclass(frozen=True)
class ShardToIndex:
    """A shard that can be indexed."""

    source: ShardSource

    @property
    def bytes(self) -> int:
        """Size of the shard."""
        return self.source.bytes

    @property
    def is_local(self) -> bool:
        """False for a shard that is downloaded first."""
        return self.source.is_local

    @property
    def settled(self) -> bool:
        """False for a local shard that was written just now: a later write may not change its identity."""
        return self.source.settled or not self.source.is_local

    @property
    def identity(self) -> list[Any]:
        """Everything that decides the index."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class ShardedSamples:
    """The samples of shards, one shard after the other."""

    shards: tuple[ShardSource, ...]
    shard_starts: NDArray[np.int64]
    """Index of the first sample of each shard, then the number of samples."""
    left_out: tuple[LeftOut, ...]
    identity: str | None
    """Digest of everything that decides the samples; None if a local shard was written just now."""

    @property
    def images_identity(self) -> str | None:
        """The identity, which has the state of each shard; None if a server does not name the version of one."""
        return self.identity if all(shard.settled for shard in self.shards) else None

    def __len__(self) -> int:
        return int(self.shard_starts[-1])

    def placed(self, index: int) -> tuple[int, int]:
        """Return the number of the shard of a sample, and the place of the sample in it. Raises IndexError."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        at = int(self.shard_starts.searchsorted(index, side="right")) - 1
        return at, index - int(self.shard_starts[at])

    def grouped(self, indices: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Yield each shard that some samples have, by number, with the places in ``indices`` and those in the shard."""
        import numpy as np

        order = np.argsort(indices)
        ends = indices[order].searchsorted(self.shard_starts)
        for at in np.flatnonzero(np.diff(ends)).tolist():
            chosen = order[ends[at] : ends[at + 1]]
            yield at, chosen, indices[chosen] - self.shard_starts[at]


def identity_of(shards: Sequence[ShardToIndex]) -> str | None:
    """Return a digest of all that decides the samples of shards; None if a local one was written just now."""
    return combined(shard.identity for shard in shards) if all(shard.settled for shard in shards) else None


def starts_of(parts: Sequence[Sized]) -> NDArray[np.int64]:
    """Return the index of the first sample of each part, then the number of samples."""
    import numpy as np

    return np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64)
