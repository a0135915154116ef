"""Digests of files, remembered while size, mtime, ctime and inode stay the same."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dit_run.digests import Stat
from dit_run.system.file_ranges import FilePart, file_of

__all__ = ["FileDigests", "file_state"]

_SETTLED_NS = 2_000_000_000
_READERS = 8
_BATCH = 1024


class FileDigests:
    """SHA-256 of files, stored in a small database next to the cache. Losing the database only costs time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> FileDigests:
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError:
            with contextlib.suppress(OSError):
                self._path.unlink()
            with contextlib.suppress(sqlite3.Error):
                self._connection = self._open()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=60, isolation_level=None)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS files "
            "(path TEXT PRIMARY KEY, size INT, mtime INT, ctime INT, inode INT, sha256 BLOB) WITHOUT ROWID"
        )
        return connection

    def digests(self, images: Sequence[Path | FilePart]) -> Iterator[tuple[Stat, bytes] | OSError]:
        """Yield the stat and the digest of each file or part of one, or the error of reading it."""
        with ThreadPoolExecutor(_READERS) as readers:
            for start in range(0, len(images), _BATCH):
                yield from self._batch(images[start : start + _BATCH], readers)

    def _batch(
        self, images: Sequence[Path | FilePart], readers: ThreadPoolExecutor
    ) -> list[tuple[Stat, bytes] | OSError]:
        results = [file_state(file_of(image)) for image in images]
        paths = [_name(image) for image in images]
        known = self._recall(paths)
        wanted = [
            index
            for index, result in enumerate(results)
            if not isinstance(result, OSError) and known.get(paths[index], (None, b""))[0] != result
        ]
        fresh = dict(zip(wanted, readers.map(_digest, [images[index] for index in wanted]), strict=True))
        self._remember((paths[index], each) for index, each in fresh.items() if not isinstance(each, OSError))
        return [
            result if isinstance(result, OSError) else fresh.get(index) or (result, known[paths[index]][1])
            for index, result in enumerate(results)
        ]

    def _recall(self, paths: list[str]) -> dict[str, tuple[Stat, bytes]]:
        if self._connection is None:
            return {}
        marks = ",".join("?" * len(paths))
        try:
            rows = self._connection.execute(f"SELECT * FROM files WHERE path IN ({marks})", paths).fetchall()
        except sqlite3.Error:
            return {}
        return {row[0]: (tuple(row[1:5]), row[5]) for row in rows if isinstance(row[5], bytes) and len(row[5]) == 32}

    def _remember(self, fresh: Iterable[tuple[str, tuple[Stat, bytes]]]) -> None:
        """Store digests of files unchanged for two seconds, so that a later write changes their times."""
        now = time.time_ns()
        rows = [(path, *state, digest) for path, (state, digest) in fresh if now - max(state[1:3]) > _SETTLED_NS]
        if self._connection is None or not rows:
            return
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?)", rows)
            self._connection.execute("COMMIT")


def file_state(path: str | Path) -> Stat | OSError:
    """Return the stat of a regular file, or an error: reading any other file might not end."""
    try:
        status = Path(path).stat()
    except OSError as error:
        return error
    if not stat.S_ISREG(status.st_mode):
        return OSError(f"{path} is not a regular file")
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _name(image: Path | FilePart) -> str:
    """Return the text by which the digest of an image is remembered."""
    path = os.fspath(file_of(image).absolute())
    return f"{path}@{image.place}" if isinstance(image, FilePart) else path


def _digest(image: Path | FilePart) -> tuple[Stat, bytes] | OSError:
    """Return the digest, with a stat from before reading: it differs if the file changes during the read."""
    before = file_state(file_of(image))
    if isinstance(before, OSError):
        return before
    try:
        if isinstance(image, FilePart):
            return before, hashlib.sha256(image.read()).digest()
        with open(image, "rb") as file:  # noqa: PTH123 (a quarter of the time for small files)
            return before, hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        return error
