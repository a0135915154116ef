"""Records of a space: found by key, read in any order, verified at the first read in a process."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dit_run.cache.shards import KEY_BYTES, Bits, DamagedShard, Shard
from dit_run.cache.space import Space
from dit_run.problems import DitRunError

__all__ = ["CurrentRecords", "DamagedRecord", "Places", "Records", "allow_many_open_files", "first_bytes", "keys_array"]

Places = NDArray[np.int64]
"""Places of records: number of the shard times 2**32, plus the row."""

_ROW_BITS = 32
_ROWS = (1 << _ROW_BITS) - 1


class DamagedRecord(DitRunError):
    """A record is damaged. It is noted, and encoded again when the cache is opened the next time."""


Keys = Sequence[bytes] | NDArray[np.uint8]


def keys_array(keys: Keys) -> NDArray[np.uint8]:
    """Return keys as uint8 [n, 32]."""
    if isinstance(keys, np.ndarray):
        return keys
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)


@dataclass(frozen=True)
class Records:
    """The records of a space when it was opened. Picklable: each process maps the shards that it reads."""

    space: Space
    names: tuple[str, ...]
    """File names of the shards."""
    places: Places
    """Places of all records without known damage, in the order of ``prefixes``."""
    prefixes: NDArray[np.uint64]
    """The first 8 bytes of their keys, ascending."""
    damaged: frozenset[tuple[str, int]]
    """Records with known damage, as (shard, row)."""
    _shards: list[Shard | None] = field(repr=False, compare=False)

    @classmethod
    def open(cls, space: Space, before: Records | None = None, announced: Collection[str] = ()) -> Records:
        """Open a space. Broken shards are left out: their records count as missing.

        Records of the same space that were opened ``before`` are returned where nothing was added or noted since.
        ``announced`` are shards that another process wrote; a list of files may lack them yet on a network disk.
        """
        paths, damaged = space.shards(), frozenset(space.damaged())
        if hidden := set(announced).difference(path.name for path in paths):
            paths = sorted([*paths, *(space.folder / name for name in hidden)])
        if before is not None and before.names == tuple(path.name for path in paths) and before.damaged == damaged:
            return before
        shards: list[Shard] = []
        allow_many_open_files()
        for path in paths:
            with contextlib.suppress(DamagedShard, FileNotFoundError):
                shards.append(Shard(path))
        places = [number << _ROW_BITS | np.arange(len(shard)) for number, shard in enumerate(shards)]
        place = np.concatenate([np.empty(0, np.int64), *places])
        prefix = np.concatenate([np.empty(0, np.uint64), *(first_bytes(shard.keys) for shard in shards)])
        numbers = {shard.path.name: number for number, shard in enumerate(shards)}
        kept = ~np.isin(place, [numbers[name] << _ROW_BITS | row for name, row in damaged if name in numbers])
        order = np.argsort(prefix[kept], kind="stable")
        return cls(space, tuple(numbers), place[kept][order], prefix[kept][order], damaged, list(shards))

    def __len__(self) -> int:
        return len(self.places)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": [None] * len(self.names)}

    def find(self, keys: Keys) -> Places:
        """Return the places of keys; -1 for a missing one."""
        wanted = keys_array(keys)
        places = np.full(len(keys), -1, dtype=np.int64)
        if not len(self):
            return places
        at = np.searchsorted(self.prefixes, first_bytes(wanted)) % len(self)
        candidates = self.places[at]
        numbers, rows = candidates >> _ROW_BITS, candidates & _ROWS
        for number in np.unique(numbers):
            mine = np.flatnonzero(numbers == number)
            same = (self._shard(int(number)).keys[rows[mine]] == wanted[mine]).all(1)
            places[mine[same]] = candidates[mine[same]]
        return places

    def read(self, place: int) -> Bits:
        """Return the flat values of a record without copying. Raises DamagedRecord."""
        shard, row = self._shard(place >> _ROW_BITS), place & _ROWS
        values = shard.values(row)
        if not shard.holds(row, values):
            raise self._damage(place)
        return values

    def _damage(self, place: int) -> DamagedRecord:
        """Note all damaged records of the shard, so that one restart repairs them all, and return the error."""
        number, row = place >> _ROW_BITS, place & _ROWS
        rows = sorted({row, *self._shard(number).damaged()})
        noted = self.space.note_damage(self.names[number], rows)
        one = len(rows) == 1
        what = f"record {row} of the cache is" if one else f"{len(rows)} records of the cache are"
        advice = (
            f"Start again: only {'this record is' if one else 'these records are'} encoded again "
            "(`dit-run cache verify` checks all)"
            if noted
            else "The damage cannot be noted there and will be met again: set cache.dir to another folder"
        )
        return DamagedRecord(f"{self.space.folder / self.names[number]}: {what} damaged. {advice}")

    def _shard(self, number: int) -> Shard:
        shard = self._shards[number]
        if shard is None:
            allow_many_open_files()
            try:
                shard = self._shards[number] = Shard(self.space.folder / self.names[number])
            except DamagedShard as error:
                raise DamagedRecord(f"{error}. Start again: its records are encoded again") from error
        return shard


@dataclass
class CurrentRecords:
    """The records of a space at each time they are asked for; read again only where the space has changed."""

    space: Space
    _last: Records | None = None
    _announced: set[str] = field(default_factory=set)

    def __call__(self) -> Records:
        self._last = Records.open(self.space, self._last, self._announced)
        return self._last

    def announce(self, shards: Iterable[str]) -> None:
        """Look for these shards, too, which another process wrote."""
        self._announced.update(shards)


def first_bytes(keys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the first 8 bytes of keys [n, 32] as numbers."""
    return np.ascontiguousarray(keys[:, :8]).view(np.uint64).ravel()


_MANY = 65536


def allow_many_open_files() -> None:
    """Allow this process many open files, 65,536 if the hard limit of the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY if hard == resource.RLIM_INFINITY else min(_MANY, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
