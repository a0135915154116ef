"""Records of a space: found by key, read in any order, verified at the first read in a process."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dit_run.cache.shards import Bits, DamagedShard, Shard
from dit_run.cache.space import SHARD_SUFFIX, Space
from dit_run.cache.space_index import Keys, Places, SpaceIndex, indexes, row_of, shard_number
from dit_run.problems import DitRunError

__all__ = ["CurrentRecords", "DamagedRecord", "Records", "allow_many_open_files"]

_MAPPED = 4096
"""Mapped shards of a space; each takes a descriptor (number)."""
_INDEXED = 1 << 16
"""Number of records from which on a space has an index."""


class DamagedRecord(DitRunError):
    """A record is damaged. It is noted, and encoded again when the cache is opened the next time."""


@dataclass(frozen=True)
class Records:
    """The records of a space when it was opened. Picklable: each process maps the shards that it reads."""

    space: Space
    index: SpaceIndex
    damaged: frozenset[tuple[str, int]]
    """Records with known damage, as (shard, row)."""
    _left_out: frozenset[int]
    """Places of records with known damage."""
    _shards: dict[int, Shard] = field(default_factory=dict, repr=False, compare=False)
    """Mapped shards by number, the longest mapped first."""
    _verified: dict[int, bytearray] = field(default_factory=dict, repr=False, compare=False)
    """For each shard that was mapped once, the records that were verified."""
    most_mapped: int = field(default=_MAPPED, compare=False)
    """Largest number of shards that a process keeps mapped."""

    @classmethod
    def open(
        cls,
        space: Space,
        before: Records | None = None,
        announced: Collection[str] = (),
    ) -> Records:
        """Open a space. Broken shards are left out: their records count as missing.

        Records of the same space that were opened ``before`` are returned where nothing was added or noted since.
        ``announced`` are shards and indexes that another process wrote; a list of files may lack them yet on a network
        disk.
        """
        sizes, damaged = _sizes(space, announced), frozenset(space.damaged())
        if before is not None and before.damaged == damaged and before.index.sizes == sizes:
            return before
        index = _stored_index(space, sizes, announced) or _index_of_shards(space, sizes)
        places = (index.place(name, row) for name, row in damaged)
        return cls(space, index, damaged, frozenset(place for place in places if place is not None))

    def __len__(self) -> int:
        return len(self.index) - len(self._left_out)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": {}, "_verified": {}}

    def find(self, keys: Keys) -> Places:
        """Return the places of keys; -1 for a missing one."""
        return self.index.find(keys, self._left_out)

    def read(self, place: int) -> Bits:
        """Return the flat values of a record without copying. Raises DamagedRecord."""
        shard, row = self._shard(shard_number(place)), row_of(place)
        values = shard.values(row)
        if not shard.holds(row, values):
            raise self._damage(place)
        return values

    def _damage(self, place: int) -> DamagedRecord:
        """Note all damaged records of the shard, so that one restart repairs them all, and return the error."""
        number, row = shard_number(place), row_of(place)
        name = self.index.names[number]
        rows = sorted({row, *self._shard(number).damaged()})
        noted = self.space.note_damage(name, rows)
        one = len(rows) == 1
        what = f"record {row} of the cache is" if one else f"{len(rows)} records of the cache are"
        advice = (
            f"Start again: only {'this record is' if one else 'these records are'} encoded again "
            "(`dit-run cache verify` checks all)"
            if noted
            else "The damage cannot be noted there and will be met again: set cache.dir to another folder"
        )
        return DamagedRecord(f"{self.space.folder / name}: {what} damaged. {advice}")

    def _shard(self, number: int) -> Shard:
        shard = self._shards.get(number)
        return self._map(number) if shard is None else shard

    def _map(self, number: int) -> Shard:
        """Map a shard, in the place of the one that was mapped first if there are many."""
        allow_many_open_files()
        try:
            shard = Shard(self.space.folder / self.index.names[number], self._verified.get(number))
            if not self.index.fits(number, shard):
                raise DamagedShard(f"{shard.path}: it has changed since it was indexed")
        except DamagedShard as error:
            if self.index.path is not None:
                with contextlib.suppress(OSError):
                    self.index.path.unlink(missing_ok=True)
            raise DamagedRecord(f"{error}. Start again: its records are encoded again") from error
        if len(self._shards) >= self.most_mapped:
            self._shards.pop(next(iter(self._shards)), None)
        self._verified[number] = shard.verified
        self._shards[number] = shard
        return shard


def _sizes(space: Space, announced: Collection[str]) -> dict[str, int]:
    """Return the size of each shard of a space (bytes), in the order of the names."""
    paths = {path.name: path for path in space.shards()}
    paths |= {name: space.folder / name for name in announced if name.endswith(SHARD_SUFFIX)}
    sizes: dict[str, int] = {}
    for name in sorted(paths):
        with contextlib.suppress(FileNotFoundError):
            sizes[name] = paths[name].stat().st_size
    return sizes


def _stored_index(space: Space, sizes: Mapping[str, int], announced: Collection[str]) -> SpaceIndex | None:
    """Return the index of all shards from a file; None if there is none."""
    named = [space.folder / name for name in announced if not name.endswith(SHARD_SUFFIX)]
    read = (SpaceIndex.read(path, sizes) for path in dict.fromkeys([*named, *indexes(space.folder)]))
    return next((index for index in read if index is not None), None)


def _index_of_shards(space: Space, names: Iterable[str]) -> SpaceIndex:
    """Return the index of these shards, read from them; broken ones are left out."""
    shards: list[Shard] = []
    allow_many_open_files()
    for name in names:
        with contextlib.suppress(DamagedShard, FileNotFoundError):
            shards.append(Shard(space.folder / name))
    return SpaceIndex.of(shards)


@dataclass
class CurrentRecords:
    """The records of a space at each time they are asked for; read again only where the space has changed."""

    space: Space
    indexed_from: int = _INDEXED
    """Number of records from which on an index is stored."""
    _last: Records | None = None
    _announced: set[str] = field(default_factory=set)
    _found: tuple[Records, Keys, Places] | None = None
    """The last keys that were looked up, in which records, and their places."""

    def __call__(self) -> Records:
        self._last = Records.open(self.space, self._last, self._announced)
        return self._last

    def find(self, keys: Keys) -> Places:
        """Return the places of keys; the same object is looked up again only where the space has changed."""
        records = self()
        if self._found is None or self._found[0] is not records or self._found[1] is not keys:
            self._found = records, keys, records.find(keys)
        return self._found[2]

    def announce(self, files: Iterable[str]) -> None:
        """Look for these shards and indexes, too, which another process wrote."""
        self._announced.update(files)

    def store_index(self) -> list[str]:
        """Store the index of a large space, unless it is stored or nothing can be written; return the file's name.

        A space with broken shards has none.
        """
        records = self()
        whole = records.index.sizes == _sizes(self.space, self._announced)
        if records.index.path is None and len(records) >= self.indexed_from and whole:
            with contextlib.suppress(OSError):
                self._last = replace(records, index=records.index.stored(self.space.folder))
        stored = self().index.path
        return [] if stored is None else [stored.name]


_MANY = 65536


def allow_many_open_files() -> None:
    """Allow this process many open files, 65,536 if the hard limit of the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY if hard == resource.RLIM_INFINITY else min(_MANY, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
