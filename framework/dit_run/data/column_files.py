"""Column files: named arrays in one file, which are mapped into memory and read only where they are used."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dit_run.problems import InputError
from dit_run.system.durable import replacing

__all__ = ["Columns"]

_MAGIC = b"dit-run columns\n"
_ALIGNMENT = 64


class Columns(Mapping[str, NDArray[Any]]):
    """Arrays by name. Picklable: arrays that are mapped from a file travel as its path."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], path: Path | None = None) -> None:
        self._arrays = dict(arrays)
        self._path = path

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (Columns, (self._arrays,)) if self._path is None else (_reopened, (self._path,))

    def stored(self, path: Path) -> Columns:
        """Return the same columns, mapped from ``path``, which they replace at once. Raises OSError."""
        placed, end = dict[str, list[Any]](), 0
        for name, array in self.items():
            placed[name] = [array.dtype.str, len(array), end]
            end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        head = json.dumps([end, placed]).encode()
        start = _MAGIC + len(head).to_bytes(8, "little") + head
        with replacing(path, path.with_name(f".{path.name}.{os.getpid()}.partial")) as file:
            file.write(start.ljust(_start(len(head)), b"\0"))
            for array in self.values():
                file.write(np.ascontiguousarray(array).data)
                file.write(bytes(-array.nbytes % _ALIGNMENT))
        return Columns.read(path) or self

    @classmethod
    def read(cls, path: Path) -> Columns | None:
        """Return the columns in a file; None if it is missing or damaged."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError), path.open("rb") as file:
            mapped = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
            head = len(_MAGIC) + 8
            if mapped[: len(_MAGIC)].tobytes() != _MAGIC:
                return None
            length = int.from_bytes(mapped[len(_MAGIC) : head].tobytes(), "little")
            end, placed = json.loads(mapped[head : head + length].tobytes())
            content = mapped[_start(length) :]
            if len(content) != end:
                return None
            return cls({name: _array(content, *place) for name, place in placed.items()}, path)
        return None


def _array(content: NDArray[np.uint8], dtype: str, count: int, start: int) -> NDArray[Any]:
    kind = np.dtype(dtype)
    return content[start : start + count * kind.itemsize].view(kind)


def _start(head: int) -> int:
    """Return where the arrays begin, after a head of this length."""
    return -(-(len(_MAGIC) + 8 + head) // _ALIGNMENT) * _ALIGNMENT


def _reopened(path: Path) -> Columns:
    columns = Columns.read(path)
    if columns is None:
        raise InputError(f"the index {path} was removed or damaged while it was used; start again, which rebuilds it")
    return columns
