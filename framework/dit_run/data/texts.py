"""Texts: many strings in two flat arrays, which cost little memory, pickle fast and can be stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Texts"]


@dataclass(frozen=True, eq=False)
class Texts:
    """A sequence of strings."""

    content: NDArray[np.uint8]
    """UTF-8 of all strings, one after the other."""
    ends: NDArray[np.int64]
    """End of each string in ``content``."""

    @classmethod
    def of(cls, strings: Iterable[str]) -> Texts:
        """Pack strings; bytes of file names that are no UTF-8 are kept."""
        encoded = [string.encode("utf-8", "surrogateescape") for string in strings]
        ends = np.cumsum([len(part) for part in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)

    @classmethod
    def stored(cls, columns: Mapping[str, NDArray[Any]], name: str) -> Texts:
        """Return the strings that :meth:`packed` stored under a name."""
        return cls(columns[f"{name}.content"], columns[f"{name}.ends"])

    def packed(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the arrays, to be stored under a name."""
        return {f"{name}.content": self.content, f"{name}.ends": self.ends}

    @classmethod
    def joined(cls, parts: Sequence[Texts]) -> Texts:
        """Return all strings of the parts."""
        starts = np.cumsum([0, *(len(part.content) for part in parts)])
        ends = [part.ends + start for part, start in zip(parts, starts[:-1].tolist(), strict=True)]
        return cls(
            np.concatenate([np.empty(0, np.uint8), *(part.content for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *ends]),
        )

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[str]:
        start, content = 0, self.content.data
        for end in self.ends.tolist():
            yield bytes(content[start:end]).decode("utf-8", "surrogateescape")
            start = end

    def __getitem__(self, index: int) -> str:
        start = int(self.ends[index - 1]) if index else 0
        return self.content[start : int(self.ends[index])].tobytes().decode("utf-8", "surrogateescape")
