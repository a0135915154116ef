"""Index of a space: the keys and places of all its records, in one file that is mapped into memory.

Opening a space by its index reads no shard. The file is named by the digest of its content and has the size of each
shard and a digest of its keys: an index that is damaged, or of other shards, is not used.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from dit_run.cache.shards import KEY_BYTES, Shard
from dit_run.data.column_files import Columns, array_digest
from dit_run.system.durable import sync_folder

__all__ = ["Keys", "Places", "SpaceIndex", "first_bytes", "indexes", "keys_array", "row_of", "shard_number"]

Keys = Sequence[bytes] | NDArray[np.uint8]
Places = NDArray[np.int64]
"""Places of records: number of the shard times 2**32, plus the row."""

_ROW_BITS = 32
_SUFFIX = ".index"
_PREFIX_BYTES = 8
_BLOCK = 1 << 20
"""Keys that are looked up, or bytes that are read, at a time."""


def keys_array(keys: Keys) -> NDArray[np.uint8]:
    """Return keys as uint8 [n, 32]."""
    if isinstance(keys, np.ndarray):
        return keys
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)


def first_bytes(keys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the first 8 bytes of keys [n, 32] as numbers."""
    return np.ascontiguousarray(keys[:, :_PREFIX_BYTES]).view(np.uint64).ravel()


def shard_number(place: int) -> int:
    """Return the number of the shard of a place."""
    return place >> _ROW_BITS


def row_of(place: int) -> int:
    """Return the row in its shard of a place."""
    return place & ((1 << _ROW_BITS) - 1)


def indexes(folder: Path) -> list[Path]:
    """Return the index files of a space, newest first."""
    found = dict[Path, float]()
    for path in folder.glob(f"*{_SUFFIX}"):
        with contextlib.suppress(OSError):  # removed in the meantime
            found[path] = path.stat().st_mtime
    return sorted(found, key=lambda path: -found[path])


@dataclass(frozen=True)
class SpaceIndex:
    """The keys and places of all records of some shards. Picklable: a stored index travels as its path."""

    columns: Columns
    """``prefixes``, the first 8 bytes of the keys, ascending; ``rests`` of the keys and ``places``, in this order; and
    ``names``, ``sizes`` (bytes), ``counts`` and ``key_sums`` of the shards."""
    path: Path | None = None
    """The file; None for an index in memory."""

    @classmethod
    def of(cls, shards: Sequence[Shard]) -> SpaceIndex:
        """Return the index of these shards in memory."""
        keys = np.concatenate([np.empty((0, KEY_BYTES), np.uint8), *(shard.keys for shard in shards)])
        rows = (number << _ROW_BITS | np.arange(len(shard)) for number, shard in enumerate(shards))
        places = np.concatenate([np.empty(0, np.int64), *rows])
        prefixes = first_bytes(keys)
        order = np.argsort(prefixes, kind="stable")
        arrays = {
            "prefixes": prefixes[order],
            "rests": keys[order, _PREFIX_BYTES:].ravel(),
            "places": places[order],
            "names": np.frombuffer(json.dumps([shard.path.name for shard in shards]).encode(), dtype=np.uint8),
            "sizes": np.array([shard.size for shard in shards], dtype=np.int64),
            "counts": np.array([len(shard) for shard in shards], dtype=np.int64),
            "key_sums": np.array([_key_sum(shard) for shard in shards], dtype=np.uint64),
        }
        return cls(Columns(arrays))

    @classmethod
    def read(cls, path: Path, sizes: Mapping[str, int]) -> SpaceIndex | None:
        """Return the index in a file; None unless it is whole and of the shards with these names and sizes."""
        columns = Columns.read(path)
        if columns is None:
            return None
        index = cls(columns, path)
        with contextlib.suppress(OSError, KeyError, ValueError, TypeError):
            if index.sizes == sizes and _digest(path) == path.stem:
                return index
        return None

    def stored(self, folder: Path) -> SpaceIndex:
        """Return the same index in a file of this folder, which is complete or absent. Raises OSError."""
        partial = folder / f".{uuid.uuid4().hex}.partial"
        try:
            self.columns.stored(partial)
            path = partial.replace(folder / f"{_digest(partial)}{_SUFFIX}")
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(folder)
        return SpaceIndex(Columns.read(path) or self.columns, path)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """File names of the shards, by number."""
        return tuple(json.loads(self.columns["names"].tobytes()))

    @property
    def sizes(self) -> dict[str, int]:
        """Size of each shard (bytes)."""
        return dict(zip(self.names, self.columns["sizes"].tolist(), strict=True))

    @cached_property
    def digest(self) -> str:
        """Digest of all keys, places and shards; indexes in a file and in memory do not share theirs."""
        if self.path is not None:
            return self.path.stem  # compared with the content when it was read
        return xxhash.xxh3_128_hexdigest("".join(array_digest(array) for array in self.columns.values()).encode())

    def __len__(self) -> int:
        return len(self.columns["places"])

    def place(self, name: str, row: int) -> int | None:
        """Return the place of a record; None if the index has none."""
        if name not in self.names:
            return None
        number = self.names.index(name)
        return number << _ROW_BITS | row if row < self.columns["counts"][number] else None

    def fits(self, number: int, shard: Shard) -> bool:
        """Return True if a shard has the keys that the index has for it."""
        expected = int(self.columns["counts"][number]), int(self.columns["key_sums"][number])
        return (len(shard), _key_sum(shard)) == expected

    def find(self, keys: Keys, without: Collection[int] = ()) -> Places:
        """Return the places of keys, none of those in ``without``; -1 for a missing one."""
        wanted = keys_array(keys)
        blocks = [wanted[start : start + _BLOCK] for start in range(0, len(wanted), _BLOCK)]
        return np.concatenate([np.empty(0, np.int64), *(self._found(block, without) for block in blocks)])

    def _found(self, wanted: NDArray[np.uint8], without: Collection[int]) -> Places:
        places = np.full(len(wanted), -1, dtype=np.int64)
        if not len(self):
            return places
        prefixes = first_bytes(wanted)
        order = np.argsort(prefixes)  # neighbours lie in the same pages of the file
        at = np.searchsorted(self.columns["prefixes"], prefixes[order])
        left = np.flatnonzero(at < len(self))
        rests = self.columns["rests"].reshape(-1, KEY_BYTES - _PREFIX_BYTES)
        barred = np.fromiter(without, np.int64)
        while len(left):  # more than once only for records with several places, or with equal first bytes
            rows, here = order[left], at[left]
            alike = self.columns["prefixes"][here] == prefixes[rows]
            left, rows, here = left[alike], rows[alike], here[alike]
            candidates = self.columns["places"][here]
            same = (rests[here] == wanted[rows, _PREFIX_BYTES:]).all(axis=1)
            if len(barred):
                same &= ~np.isin(candidates, barred)
            places[rows[same]] = candidates[same]
            left = left[~same]
            at[left] += 1
            left = left[at[left] < len(self)]
        return places


def _key_sum(shard: Shard) -> int:
    """Return a digest of the keys of a shard, in their order."""
    digest: int = xxhash.xxh3_64_intdigest(shard.keys.data)
    return digest


def _digest(path: Path) -> str:
    """Return the digest of a file, which is read and not mapped, so that its pages do not count for this process."""
    digest = xxhash.xxh3_128()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
