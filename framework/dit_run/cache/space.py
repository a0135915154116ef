"""Spaces: folders of records made by one encoder with one set of settings."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dit_run.cache.shards import FORMAT, KEY_BYTES, Bits, bits_of, write_shard
from dit_run.digests import combined
from dit_run.problems import DitRunError, InputError
from dit_run.system.durable import make_folder, write_atomic
from dit_run.system.json_files import read_object

__all__ = ["SHARD_SUFFIX", "Space", "Writer"]

SHARD_SUFFIX = ".safetensors"

_SMALLEST, _LARGEST = 64 << 20, 1 << 30
"""Sizes of shards (bytes)."""
_SHARE = 16
"""Largest share of a shard in what a writer has written is one in this number: few shards need few mappings."""
_FLUSH_SECONDS = 60.0
_DESCRIPTION, _DAMAGED = "space.json", "damaged.txt"


@dataclass(frozen=True)
class Space:
    """A folder of the cache. Any number of processes may read and write it at the same time."""

    folder: Path

    @classmethod
    def of(cls, root: Path, kind: str, settings: Mapping[str, Any]) -> Space:
        """Return the space for these settings, and create it if it is missing. Raises DitRunError if that fails."""
        space = cls(root / kind / combined([kind, FORMAT, dict(settings)])[:24])
        description = {"kind": kind, **settings}
        if not (space.folder / _DESCRIPTION).exists():
            with _translate_unwritable(space.folder):
                make_folder(space.folder)
                space._write_description(description)
        elif not space.describe():
            with contextlib.suppress(OSError):  # only people read it
                space._write_description(description)
        space.touch()
        return space

    def check_writable(self) -> None:
        """Raise DitRunError if nothing can be added, before work is done for it."""
        if not os.access(self.folder, os.W_OK):
            raise DitRunError(
                f"the cache is incomplete and cannot be written: {self.folder} is read-only; "
                "set cache.dir to another folder"
            )

    def describe(self) -> dict[str, Any]:
        """Return kind and settings; empty if the description is broken."""
        with contextlib.suppress(InputError):
            return read_object(self.folder / _DESCRIPTION)
        return {}

    def _write_description(self, description: Mapping[str, Any]) -> None:
        """Write the description; any number of processes may do so at the same time."""
        partial = self.folder / f".{uuid.uuid4().hex}.partial"
        write_atomic(partial, json.dumps(description, indent=2).encode())
        partial.replace(self.folder / _DESCRIPTION)

    def touch(self) -> None:
        """Mark the space as used now, for :mod:`dit_run.cache.maintenance`."""
        with contextlib.suppress(OSError):
            os.utime(self.folder / _DESCRIPTION)

    @property
    def last_used(self) -> float:
        """Return the time of last use (seconds since the epoch)."""
        try:
            return (self.folder / _DESCRIPTION).stat().st_mtime
        except OSError:
            return 0.0

    def shards(self) -> list[Path]:
        """Return all shards, sorted by name."""
        return sorted(path for path in self.folder.glob(f"*{SHARD_SUFFIX}") if path.is_file())

    def note_damage(self, shard: str, rows: Iterable[int]) -> bool:
        """Note damaged records, which count as missing from now on; return True if it could be noted.

        It is one write, so notes of several processes do not mix.
        """
        note = "".join(f"{shard} {row}\n" for row in rows).encode()
        try:
            with (self.folder / _DAMAGED).open("ab", buffering=0) as file:
                return file.write(note) == len(note)
        except OSError:
            return False

    def damaged(self) -> set[tuple[str, int]]:
        """Return the records noted as damaged, as (shard, row)."""
        try:
            lines = (self.folder / _DAMAGED).read_text(errors="replace").splitlines()
        except OSError:
            return set()
        pairs = (line.split() for line in lines)
        return {(pair[0], int(pair[1])) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


class Writer:
    """Add records to a space. A record is on disk at most a minute after it was added, as long as others follow.

    The first shards have 64 MiB; those of a long build grow, up to 1 GiB.
    """

    def __init__(self, space: Space, dtype: torch.dtype, smallest: int = _SMALLEST) -> None:
        """Write to this space in this dtype; ``smallest`` is the size of the first shards (bytes)."""
        self._space, self._dtype = space, dtype
        self.names: list[str] = []
        """File names of the shards that were written."""
        self._keys: list[bytes] = []
        self._records: list[Bits] = []
        self._size = smallest
        self._bytes, self._since, self._written = 0, time.monotonic(), 0

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.flush()

    def add(self, key: bytes, values: torch.Tensor) -> None:
        """Add a record of any shape, rounded to the dtype of the space. Raises DitRunError if it cannot be written."""
        assert len(key) == KEY_BYTES
        flat = bits_of(values, self._dtype)
        self._keys.append(key)
        self._records.append(flat)
        self._bytes += flat.nbytes
        if self._bytes >= self._size or time.monotonic() - self._since > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the added records to disk. Raises DitRunError if that fails."""
        if self._keys:
            path = self._space.folder / f"{uuid.uuid4().hex}{SHARD_SUFFIX}"
            with _translate_unwritable(self._space.folder):
                write_shard(path, self._keys, self._records, self._dtype)
            self.names.append(path.name)
            self._written += self._bytes
            self._size = max(self._size, min(self._written // _SHARE, _LARGEST))
        self._keys, self._records, self._bytes, self._since = [], [], 0, time.monotonic()


@contextlib.contextmanager
def _translate_unwritable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise DitRunError(
            f"the cache cannot be written: {error.filename or folder}: {error.strerror}; "
            f"{'free some space, or ' if full else ''}set cache.dir to another folder. Records written before are kept"
        ) from error
