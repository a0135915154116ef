"""Contents: the content keys of samples, as arrays, which take little memory and travel between processes."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dit_run.cache.image_reader import Content
from dit_run.cache.shards import KEY_BYTES

__all__ = ["Contents", "ContentsBuilder"]

_NO_STATE = (-1, -1, -1, -1)


@dataclass(frozen=True)
class Contents:
    """The contents of some samples, by ascending index."""

    indices: NDArray[np.int64]
    """Indices of the samples in the dataset."""
    keys: NDArray[np.uint8]
    """Key of each, [n, 32]."""
    states: NDArray[np.int64]
    """Stat of the file of each, [n, 4]; -1 for a generated image."""

    @classmethod
    def none(cls) -> Contents:
        """Return the contents of no samples."""
        return ContentsBuilder().contents()

    @classmethod
    def joined(cls, parts: Iterable[Contents]) -> Contents:
        """Return the contents of all parts; of samples in several, those of the last."""
        kept = list(parts)
        indices, keys, states = (
            np.concatenate([getattr(part, name) for part in kept]) for name in ("indices", "keys", "states")
        )
        order = np.argsort(indices, kind="stable")
        last = order[np.append(np.diff(indices[order]) > 0, True)[: len(order)]]
        return cls(indices[last], keys[last], states[last])

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, row: int) -> Content:
        state = tuple(self.states[row].tolist())
        return Content(int(self.indices[row]), self.keys[row].tobytes(), None if state == _NO_STATE else state)

    def rows(self, indices: Iterable[int]) -> NDArray[np.int64]:
        """Return the rows of those samples that have contents."""
        wanted = np.fromiter(indices, np.int64)
        return np.flatnonzero(np.isin(self.indices, wanted)).astype(np.int64)


class ContentsBuilder:
    """Collect contents one by one, in any order."""

    def __init__(self) -> None:
        self._indices, self._keys, self._states = array("q"), bytearray(), array("q")

    def add(self, content: Content) -> None:
        self._indices.append(content.index)
        self._keys += content.key
        self._states.extend(content.state or _NO_STATE)

    def contents(self) -> Contents:
        """Return what was added."""
        indices = np.array(self._indices, dtype=np.int64)
        order = np.argsort(indices, kind="stable")
        keys = np.frombuffer(bytes(self._keys), dtype=np.uint8).reshape(-1, KEY_BYTES)
        states = np.array(self._states, dtype=np.int64).reshape(-1, len(_NO_STATE))
        return Contents(indices[order], keys[order], states[order])
