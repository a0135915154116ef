"""Records of a space: found by key, read at random, each checked at its first read in a process."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dit_run.cache.shards import KEY_BYTES, Bits, DamagedShard, Shard
from dit_run.cache.space import Space
from dit_run.problems import DitRunError

__all__ = ["DamagedRecord", "Places", "Records", "allow_many_open_files", "keys_array"]

Places = NDArray[np.int64]
"""Where records are: number of the shard, times 2**32, plus the row."""

_ROW_BITS = 32
_ROWS = (1 << _ROW_BITS) - 1


class DamagedRecord(DitRunError):
    """A record fails its check. It is noted, and made again when the cache is opened the next time."""


def keys_array(keys: Sequence[bytes]) -> NDArray[np.uint8]:
    """Keys as uint8 [n, 32]."""
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)


@dataclass(frozen=True)
class Records:
    """What was in a space when it was opened. Picklable: each process maps the shards that it reads."""

    space: Space
    names: tuple[str, ...]
    """The shards."""
    places: Places
    """Of all records that are not known to be damaged, in the order of ``prefixes``."""
    prefixes: NDArray[np.uint64]
    """The first 8 bytes of their keys, ascending."""
    _shards: list[Shard | None] = field(repr=False, compare=False)

    @classmethod
    def open(cls, space: Space) -> Records:
        """Broken shards are left out: what they held counts as missing."""
        shards: list[Shard] = []
        allow_many_open_files()
        for path in space.shards():
            with contextlib.suppress(DamagedShard, FileNotFoundError):
                shards.append(Shard(path))
        places = [number << _ROW_BITS | np.arange(len(shard)) for number, shard in enumerate(shards)]
        place = np.concatenate([np.empty(0, np.int64), *places])
        prefix = np.concatenate([np.empty(0, np.uint64), *(_prefix(shard.keys) for shard in shards)])
        numbers = {shard.path.name: number for number, shard in enumerate(shards)}
        damaged = [numbers[name] << _ROW_BITS | row for name, row in space.damaged() if name in numbers]
        kept = ~np.isin(place, damaged)
        order = np.argsort(prefix[kept], kind="stable")
        return cls(space, tuple(numbers), place[kept][order], prefix[kept][order], list(shards))

    def __len__(self) -> int:
        return len(self.places)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": [None] * len(self.names)}

    def find(self, keys: Sequence[bytes]) -> Places:
        """Places of keys; -1 where there is none."""
        wanted = keys_array(keys)
        places = np.full(len(keys), -1, dtype=np.int64)
        if not len(self):
            return places
        at = np.searchsorted(self.prefixes, _prefix(wanted)) % len(self)
        candidates = self.places[at]
        numbers, rows = candidates >> _ROW_BITS, candidates & _ROWS
        for number in np.unique(numbers):
            mine = np.flatnonzero(numbers == number)
            same = (self._shard(int(number)).keys[rows[mine]] == wanted[mine]).all(1)
            places[mine[same]] = candidates[mine[same]]
        return places

    def read(self, place: int) -> Bits:
        """The flat values of a record, not copied. Raises DamagedRecord."""
        shard, row = self._shard(place >> _ROW_BITS), place & _ROWS
        values = shard.values(row)
        if not shard.holds(row, values):
            raise self._damage(place)
        return values

    def copy(self, place: int, into: Bits) -> None:
        """Put the flat values of a record into an array of its size. Raises DamagedRecord."""
        shard = self._shards[place >> _ROW_BITS]
        if shard is None:
            shard = self._shard(place >> _ROW_BITS)
        if not shard.copy(place & _ROWS, into):
            raise self._damage(place)

    def key(self, place: int) -> bytes:
        """The key of the record at a place."""
        key: bytes = self._shard(place >> _ROW_BITS).keys[place & _ROWS].tobytes()
        return key

    def _damage(self, place: int) -> DamagedRecord:
        """Notes it with all that is damaged in its shard, so that one new start mends them all, and says so."""
        number, row = place >> _ROW_BITS, place & _ROWS
        rows = sorted({row, *self._shard(number).damaged()})
        noted = self.space.note_damage(self.names[number], rows)
        one = len(rows) == 1
        what = f"record {row} of the cache is" if one else f"{len(rows)} records of the cache are"
        mend = (
            f"Start again: {'it alone is' if one else 'they alone are'} made anew (`dit-run cache verify` checks all)"
            if noted
            else "That cannot be noted there, so that it is met again: set cache.dir elsewhere"
        )
        return DamagedRecord(f"{self.space.folder / self.names[number]}: {what} damaged. {mend}")

    def _shard(self, number: int) -> Shard:
        shard = self._shards[number]
        if shard is None:
            allow_many_open_files()
            try:
                shard = self._shards[number] = Shard(self.space.folder / self.names[number])
            except DamagedShard as error:
                raise DamagedRecord(f"{error}. Start again: what it held is made anew") from error
        return shard


def _prefix(keys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(keys[:, :8]).view(np.uint64).ravel()


_MANY = 65536


def allow_many_open_files() -> None:
    """Let this process have many files open, 65,536 where the system's hard limit allows that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY if hard == resource.RLIM_INFINITY else min(_MANY, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
