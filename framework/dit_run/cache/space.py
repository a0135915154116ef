"""Spaces: folders of records that one encoder with one set of settings makes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dit_run.cache.shards import BITS, KEY_BYTES, Bits, DamagedShard, Shard, write_shard
from dit_run.digests import combined
from dit_run.durable import make_folder, write_atomic
from dit_run.problems import DitRunError

__all__ = ["DamagedRecord", "Index", "Reader", "Space", "Writer"]

_FLUSH_BYTES = 64 << 20
_FLUSH_SECONDS = 60.0
_DESCRIPTION, _DAMAGED, _LOCK = "space.json", "damaged.txt", "lock"
_ROW_BITS = 32

Places = NDArray[np.int64]


class DamagedRecord(DitRunError):
    """A record that fails its check; it is noted, and made again by the next command that opens the cache."""


@dataclass(frozen=True)
class Space:
    """One folder of the cache. Any number of processes may read it, and write to it, at a time."""

    folder: Path

    @classmethod
    def of(cls, root: Path, kind: str, settings: Mapping[str, Any]) -> Space:
        """The space for these settings, made if need be. Raises OSError."""
        folder = root / kind / combined([kind, dict(settings)])[:24]
        space = cls(folder)
        if not (folder / _DESCRIPTION).exists():
            make_folder(folder)
            write_atomic(folder / _DESCRIPTION, json.dumps({"kind": kind, **settings}, indent=2).encode())
        space.touch()
        return space

    def describe(self) -> dict[str, Any]:
        """Kind and settings; empty where the description is broken."""
        try:
            description = json.loads((self.folder / _DESCRIPTION).read_text())
        except (OSError, ValueError):
            return {}
        return description if isinstance(description, dict) else {}

    def touch(self) -> None:
        """Note that the space is in use, for :mod:`dit_run.cache.upkeep`."""
        with contextlib.suppress(OSError):
            os.utime(self.folder / _DESCRIPTION)

    @property
    def last_used(self) -> float:
        """Seconds since the epoch."""
        try:
            return (self.folder / _DESCRIPTION).stat().st_mtime
        except OSError:
            return 0.0

    def shards(self) -> list[Path]:
        """All shards, sorted by name."""
        return sorted(self.folder.glob("*.safetensors"))

    @contextlib.contextmanager
    def building(self, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the space's lock, so that two builders do not do the same work twice; ``waiting`` is called when another
        has it. Where the file system has no locks both build, which is wasteful and safe."""
        with (self.folder / _LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:
                pass
            yield

    def note_damage(self, shard: str, row: int) -> None:
        """Note that a record is damaged: it counts as missing from now on. One write, so notes do not mix."""
        with contextlib.suppress(OSError), (self.folder / _DAMAGED).open("a") as file:
            file.write(f"{shard} {row}\n")

    def damaged(self) -> set[tuple[str, int]]:
        """The records noted so, as (shard, row)."""
        try:
            lines = (self.folder / _DAMAGED).read_text(errors="replace").splitlines()
        except OSError:
            return set()
        pairs = (line.split() for line in lines)
        return {(pair[0], int(pair[1])) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}

    def index(self) -> Index:
        """What is there now. Broken shards are left out: what they held counts as missing."""
        shards = []
        for path in self.shards():
            with contextlib.suppress(DamagedShard, FileNotFoundError):
                shards.append(Shard(path))
        return Index.of(self, shards)


@dataclass(frozen=True)
class Index:
    """Where each key of a space is."""

    space: Space
    shards: list[Shard]
    _prefixes: NDArray[np.uint64]
    _places: Places

    @classmethod
    def of(cls, space: Space, shards: list[Shard]) -> Index:
        damaged = space.damaged()
        numbers = {shard.path.name: number for number, shard in enumerate(shards)}
        places = [number << _ROW_BITS | np.arange(len(shard)) for number, shard in enumerate(shards)]
        prefixes = [_prefix(shard.keys) for shard in shards]
        place = np.concatenate(places) if places else np.empty(0, np.int64)
        prefix = np.concatenate(prefixes) if prefixes else np.empty(0, np.uint64)
        lost = [numbers[name] << _ROW_BITS | row for name, row in damaged if name in numbers]
        kept = ~np.isin(place, lost)
        order = np.argsort(prefix[kept], kind="stable")
        return cls(space, shards, prefix[kept][order], place[kept][order])

    def __len__(self) -> int:
        return len(self._places)

    def find(self, keys: NDArray[np.uint8]) -> Places:
        """Places of keys, uint8 [n, 32]; -1 where there is none."""
        found = np.searchsorted(self._prefixes, _prefix(keys))
        found[found == len(self._prefixes)] = 0
        places = np.full(len(keys), -1, dtype=np.int64)
        if len(self):
            candidates = self._places[found]
            rows = candidates & ((1 << _ROW_BITS) - 1)
            for number in np.unique(candidates >> _ROW_BITS):
                mine = np.flatnonzero(candidates >> _ROW_BITS == number)
                same = (self.shards[number].keys[rows[mine]] == keys[mine]).all(1)
                places[mine[same]] = candidates[mine[same]]
        return places

    def reader(self) -> Reader:
        return Reader(self.space, tuple(shard.path.name for shard in self.shards), list(self.shards))


def _prefix(keys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The first 8 bytes of keys: enough to sort by."""
    return np.ascontiguousarray(keys[:, :8]).view(np.uint64).ravel()


@dataclass
class Reader:
    """Reads records by their places; picklable, each process maps the shards that it reads."""

    space: Space
    names: tuple[str, ...]
    _shards: list[Shard | None] = field(repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"space": self.space, "names": self.names, "_shards": [None] * len(self.names)}

    def record(self, place: int) -> Bits:
        """The flat values of a record, not copied. Raises DamagedRecord."""
        number, row = place >> _ROW_BITS, place & ((1 << _ROW_BITS) - 1)
        values = self.shard(number).record(row)
        if values is None:
            self.space.note_damage(self.names[number], row)
            raise DamagedRecord(
                f"{self.space.folder / self.names[number]}: record {row} of the cache is damaged; "
                "start again and it alone is made anew (`dit-run cache verify` checks all)"
            )
        return values

    def shard(self, number: int) -> Shard:
        shard = self._shards[number]
        if shard is None:
            try:
                shard = self._shards[number] = Shard(self.space.folder / self.names[number])
            except DamagedShard as error:
                raise DamagedRecord(f"{error}; start again and what it held is made anew") from error
        return shard


class Writer:
    """Adds records to a space. They are kept for good at the latest a minute, or 64 MiB, after they were added."""

    def __init__(self, space: Space, dtype: torch.dtype) -> None:
        self._space, self._dtype = space, dtype
        self._keys: list[bytes] = []
        self._records: list[Bits] = []
        self._bytes, self._since = 0, time.monotonic()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.flush()

    def add(self, key: bytes, values: torch.Tensor) -> None:
        """Add a record of any shape; what its dtype cannot hold is rounded. Raises DitRunError when the disk is full."""
        assert len(key) == KEY_BYTES
        bits = values.detach().cpu().to(self._dtype).contiguous().view(-1)
        flat = bits.numpy() if self._dtype is torch.float32 else bits.view(torch.int16).numpy()
        assert flat.dtype == BITS[self._dtype]
        self._keys.append(key)
        self._records.append(flat)
        self._bytes += flat.nbytes
        if self._bytes >= _FLUSH_BYTES or time.monotonic() - self._since > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Put on disk what was added. Raises DitRunError when that fails."""
        if self._keys:
            path = self._space.folder / f"{uuid.uuid4().hex}.safetensors"
            try:
                write_shard(path, self._keys, self._records, self._dtype)
            except OSError as error:
                raise DitRunError(
                    f"the cache cannot be written: {error}; free some space, or set cache.dir elsewhere. "
                    "What was written before is kept"
                ) from error
        self._keys, self._records, self._bytes, self._since = [], [], 0, time.monotonic()


def keys_array(keys: Sequence[bytes]) -> NDArray[np.uint8]:
    """Keys as uint8 [n, 32]."""
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)
