"""Shard cache: local copies of remote shards, of bounded total size.

Each copy is downloaded once, whichever process or thread needs it first; the others wait for it. When there is no room,
the copies that were unused for longest are removed; a reader that has opened one reads it to its end. A copy has a note
next to it: its checksum, and its size and times when it was complete. If those differ, the checksum decides whether the
copy is used or downloaded again. The time of the note is that of the last use.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dit_run.data.downloads import Pause, RemoteFailed, RemoteFile, download
from dit_run.digests import cache_home
from dit_run.problems import InputError
from dit_run.system.durable import make_folder, write_atomic
from dit_run.system.file_locks import is_locked, locked
from dit_run.system.units import size_text

__all__ = ["DEFAULT_BYTES", "ShardCache"]

DEFAULT_BYTES = 50 * 10**9
"""Size of the cache without a config (bytes)."""
_TOUCHED_EVERY = 1.0
"""Time between two notes of use of a copy by one process (seconds)."""
_ROOM = "room.lock"
"""Lock for reserving room, and for completing or removing a copy."""
_ROOM_EVERY = 0.02
"""Time between two looks for room (seconds)."""

_State = tuple[int, int, int]
"""Size, mtime_ns and inode of a copy."""
_intact: dict[Path, _State] = {}
"""Copies that this process has checked."""
_touched: dict[Path, float] = {}


@dataclass(frozen=True)
class ShardCache:
    """The copies in a folder. Picklable; any number of processes may share it."""

    folder: Path
    limit: int
    """Largest total size (bytes)."""
    pause: Pause = time.sleep

    @classmethod
    def of(cls, folder: Path | None, limit: int = DEFAULT_BYTES) -> ShardCache:
        """Return the cache in the folder of all caches, by default that of the user. Raises InputError without one."""
        home = folder or cache_home()
        if home is None:
            raise InputError("there is no folder for copies of remote shards: set cache.dir, or HOME")
        return cls(home.absolute() / "remote", limit)

    def refuse_too_large(self, remote: RemoteFile) -> None:
        """Raise InputError for a file that is larger than the cache."""
        if remote.bytes > self.limit:
            raise InputError(
                f"{remote.url} has {size_text(remote.bytes)}, more than the cache of remote shards may hold: raise "
                f"cache.shards_gb, which is {self.limit / 1e9:g}"
            )

    def path(self, remote: RemoteFile) -> Path:
        """Return where the copy of a file is when there is one."""
        return self.folder / f"{remote.digest}.shard"

    def opened(self, remote: RemoteFile) -> BinaryIO:
        """Open the copy of a file, which is downloaded if it is missing.

        Raises RemoteFailed, and InputError for a file that is larger than the cache.
        """
        try:
            return self._existing(remote) or self._fetched(remote)
        except OSError as error:
            raise RemoteFailed(
                f"no copy of {remote.url} can be kept in {self.folder}: {error.strerror or error}; free space, "
                "lower cache.shards_gb, or set cache.dir to another folder"
            ) from error

    def fetch(self, remote: RemoteFile) -> None:
        """Download a file if its copy is missing. Raises as :meth:`opened` does."""
        self.opened(remote).close()

    def keep(self, remotes: Iterable[RemoteFile]) -> None:
        """Count these copies as used now, so that others are removed first."""
        for remote in remotes:
            _touch(_note(self.path(remote)))

    def _existing(self, remote: RemoteFile) -> BinaryIO | None:
        copy = self.path(remote)
        try:
            file = copy.open("rb", buffering=0)
        except FileNotFoundError:
            return None
        state = _state(file)
        if _intact.get(copy) != state and not _checked(copy, file, state):
            file.close()
            return None
        _intact[copy] = state
        if time.monotonic() - _touched.get(copy, -_TOUCHED_EVERY) >= _TOUCHED_EVERY:
            _touched[copy] = time.monotonic()
            _touch(_note(copy))
        return file

    def _fetched(self, remote: RemoteFile) -> BinaryIO:
        self.refuse_too_large(remote)
        copy, partial = self.path(remote), self.path(remote).with_suffix(".partial")
        make_folder(self.folder)
        with locked(_lock(copy)):
            if (file := self._existing(remote)) is not None:
                return file
            self._make_room(partial, remote.bytes)
            try:
                return self._downloaded(remote, copy, partial)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise

    def _downloaded(self, remote: RemoteFile, copy: Path, partial: Path) -> BinaryIO:
        with partial.open("r+b") as file:
            checksum = download(remote, file, pause=self.pause)
            file.flush()
            os.fsync(file.fileno())
        opened = partial.open("rb", buffering=0)  # before others may remove the copy
        note = {"url": remote.url, "checksum": checksum, "state": _state(opened)}
        with locked(self.folder / _ROOM):  # a copy without a note would count as unused
            partial.replace(copy)
            write_atomic(_note(copy), json.dumps(note).encode())
        return opened

    def _make_room(self, partial: Path, needed: int) -> None:
        """Reserve this number of bytes, which is not above the limit."""
        while True:
            with locked(self.folder / _ROOM):
                if self._free() >= needed or self._remove(needed):
                    with partial.open("wb") as file:
                        file.truncate(needed)
                    return
            time.sleep(_ROOM_EVERY)  # others download; when they are ready, their copies can be removed

    def _free(self) -> int:
        files = [*self.folder.glob("*.shard"), *self.folder.glob("*.partial")]
        return self.limit - sum(_size(file) for file in files)

    def _remove(self, needed: int) -> bool:
        """Remove remains of killed processes, then the copies unused for longest, until ``needed`` bytes are free."""
        for partial in self.folder.glob("*.partial"):
            if not is_locked(_lock(partial)):
                partial.unlink(missing_ok=True)
        free = self._free()
        for copy in sorted(self.folder.glob("*.shard"), key=lambda copy: _used(_note(copy))):
            if free >= needed:
                break
            free += _size(copy)
            copy.unlink(missing_ok=True)
            _note(copy).unlink(missing_ok=True)
        return free >= needed


def _checked(copy: Path, file: BinaryIO, state: _State) -> bool:
    """Return True if a copy is as it was written, by its note or else by its checksum."""
    try:
        note = json.loads(_note(copy).read_bytes())
        noted, checksum = tuple(note["state"]), note["checksum"]
        if noted != state and _checksum(file) != checksum:
            return False
    except (OSError, ValueError, TypeError, KeyError):  # a broken note or disk: the file is downloaded again
        return False
    if noted != state:
        with contextlib.suppress(OSError):  # without a new note the checksum is compared again
            write_atomic(_note(copy), json.dumps({**note, "state": state}).encode())
    return True


def _checksum(file: BinaryIO) -> str:
    """Return the checksum of a file that is at its start, where it is left. Raises OSError."""
    from xxhash import xxh3_128

    checksum = xxh3_128()
    while block := file.read(2**20):
        checksum.update(block)
    file.seek(0)
    return checksum.hexdigest()


def _note(copy: Path) -> Path:
    return copy.with_suffix(".json")


def _lock(copy: Path) -> Path:
    return copy.with_suffix(".lock")


def _state(file: BinaryIO) -> _State:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns, status.st_ino


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _used(note: Path) -> float:
    try:
        return note.stat().st_mtime
    except OSError:
        return 0.0


def _touch(note: Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(note)
