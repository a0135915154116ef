"""Column files: named arrays in one file, which are mapped into memory and read only where they are used.

The file has a digest of its head, and there one of each array, by which other results are named without reading the
array again.
"""

from __future__ import annotations

import contextlib
import functools
import json
import mmap
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, SupportsIndex

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_128, xxh3_128_digest, xxh3_128_hexdigest

from dit_run.problems import InputError
from dit_run.system.durable import replacing

__all__ = ["Columns", "array_digest"]

_MAGIC = b"dit-run columns 2\n"
_DIGEST_BYTES = 16
_BEFORE_HEAD = len(_MAGIC) + 8 + _DIGEST_BYTES
"""Bytes before the head: its length and its digest."""
_ALIGNMENT = 64
_BLOCK = 1 << 20
"""Bytes that are read at a time to verify a file."""
_REOPENED = 16
"""Files whose arrays a process finds again without opening them (number)."""


class _MappedArray(np.ndarray[Any, np.dtype[Any]]):
    """An array that is mapped from a file. Picklable: it travels as the path of the file and its name."""

    place: tuple[Path, str] | None
    """The file, and the name in it; None for a part of such an array, or for what is computed from it."""
    digest: str | None
    """Digest of the bytes; None where ``place`` is None."""

    def __array_finalize__(self, other: NDArray[Any] | None) -> None:
        self.place = self.digest = None

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        if self.place is None:
            return np.asarray(self).__reduce_ex__(protocol)
        return _reopened_array, self.place


def array_digest(array: NDArray[Any]) -> str:
    """Return the XXH3 digest (128 bits, hexadecimal) of an array's bytes; that of a mapped array is known."""
    known: str | None = getattr(array, "digest", None)
    return known or xxh3_128_hexdigest(np.ascontiguousarray(array).data)


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
            placed[name] = [array.dtype.str, len(array), end, array_digest(array)]
            end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        head = json.dumps([end, placed]).encode()
        start = _MAGIC + len(head).to_bytes(8, "little") + xxh3_128_digest(head) + head
        with replacing(path, path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")) as file:
            file.write(start.ljust(_start(len(head)), b"\0"))
            for array in self.values():
                file.write(np.ascontiguousarray(array).data)
                file.write(bytes(-array.nbytes % _ALIGNMENT))
        return Columns.read(path) or self

    @classmethod
    def read(cls, path: Path, *, verified: bool = False) -> Columns | None:
        """Return the columns in a file; None if it is missing or damaged.

        ``verified`` reads the file once and compares all digests; else its head and its length are checked.
        """
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError), path.open("rb") as file:
            mapped = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
            start = mapped[:_BEFORE_HEAD].tobytes()
            length = int.from_bytes(start[len(_MAGIC) : -_DIGEST_BYTES], "little")
            head = mapped[_BEFORE_HEAD : _BEFORE_HEAD + length].tobytes()
            if not start.startswith(_MAGIC) or start[-_DIGEST_BYTES:] != xxh3_128_digest(head):
                return None
            end, placed = json.loads(head)
            content = mapped[_start(length) :]
            if len(content) != end:
                return None
            arrays = {name: _mapped((path, name), content, *place) for name, place in placed.items()}
            starts = {name: _start(length) + place[2] for name, place in placed.items()}
            if verified and not all(_is_whole(file, arrays[name], starts[name]) for name in arrays):
                return None
            return cls(arrays, path)
        return None


def _mapped(
    place: tuple[Path, str],
    content: NDArray[np.uint8],
    dtype: str,
    count: int,
    start: int,
    digest: str,
) -> _MappedArray:
    kind = np.dtype(dtype)
    array = content[start : start + count * kind.itemsize].view(kind).view(_MappedArray)
    array.place, array.digest = place, digest
    return array


def _is_whole(file: BinaryIO, array: _MappedArray, start: int) -> bool:
    """Return True if an array in a file has its digest. It is read and not mapped: its pages belong to no process."""
    digest, left = xxh3_128(), array.nbytes
    file.seek(start)
    while left and (block := file.read(min(left, _BLOCK))):
        digest.update(block)
        left -= len(block)
    return digest.hexdigest() == array.digest


def _start(head: int) -> int:
    """Return where the arrays begin, after a head of this length."""
    return -(-(_BEFORE_HEAD + head) // _ALIGNMENT) * _ALIGNMENT


@functools.lru_cache(maxsize=_REOPENED)
def _reopened_once(path: Path) -> Columns:
    """Return the columns in a file, with one mapping for all arrays that travel to this process one by one."""
    return _reopened(path)


def _reopened_array(path: Path, name: str) -> NDArray[Any]:
    return _reopened_once(path)[name]


def _reopened(path: Path) -> Columns:
    columns = Columns.read(path)
    if columns is None:
        raise InputError(f"the index {path} was removed or damaged while it was used; start again, which rebuilds it")
    return columns
