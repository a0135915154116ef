"""Values of files, such as digests, remembered while size, mtime, ctime and inode of the file stay the same."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from dit_run.digests import Stat, is_settled
from dit_run.system.file_ranges import FilePart, state_of

__all__ = ["FileValues", "Stored"]

_READERS = 8
_BATCH = 1024


Stored = Path | FilePart


class FileValues:
    """Values of files and of parts of files in a small database. Losing the database only costs time."""

    def __init__(self, path: Path | None, name: str, size: int) -> None:
        """Remember values of this name and size (bytes) in the database at ``path``; None remembers nothing."""
        self._path, self._name, self._size = path, name, size
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        if self._path is None:
            return self
        try:
            self._connection = self._open(self._path)
        except sqlite3.DatabaseError:
            with contextlib.suppress(OSError):
                self._path.unlink()
            with contextlib.suppress(sqlite3.Error):
                self._connection = self._open(self._path)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._connection is not None:
            self._connection.close()

    def _open(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=60, isolation_level=None)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, "
            f"size INT, mtime INT, ctime INT, inode INT, {self._name} BLOB) WITHOUT ROWID"
        )
        return connection

    def values(
        self, images: Sequence[Stored], read: Callable[[Stored], bytes]
    ) -> Iterator[tuple[Stat, bytes] | OSError]:
        """Yield the stat and the value of each file or part of one, or the error of reading it.

        ``read`` makes the value, in several threads at once. It raises OSError, and values of another size are not
        remembered.
        """
        with ThreadPoolExecutor(_READERS) as readers:
            for start in range(0, len(images), _BATCH):
                yield from self._batch(images[start : start + _BATCH], partial(_read, read), readers)

    def _batch(
        self,
        images: Sequence[Stored],
        read: Callable[[Stored], tuple[Stat, bytes] | OSError],
        readers: ThreadPoolExecutor,
    ) -> list[tuple[Stat, bytes] | OSError]:
        results = [state_of(image) for image in images]
        paths = [_name(image) for image in images]
        known = self._recall(paths)
        wanted = [
            index
            for index, result in enumerate(results)
            if not isinstance(result, OSError) and known.get(paths[index], (None, b""))[0] != result
        ]
        fresh = dict(zip(wanted, readers.map(read, [images[index] for index in wanted]), strict=True))
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
        return {
            row[0]: (tuple(row[1:5]), row[5]) for row in rows if isinstance(row[5], bytes) and len(row[5]) == self._size
        }

    def _remember(self, fresh: Iterable[tuple[str, tuple[Stat, bytes]]]) -> None:
        """Store values of files unchanged for two seconds, so that a later write changes their times."""
        now = time.time_ns()
        rows = [
            (path, *state, value)
            for path, (state, value) in fresh
            if is_settled(state, now) and len(value) == self._size
        ]
        if self._connection is None or not rows:
            return
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?)", rows)
            self._connection.execute("COMMIT")


def _name(image: Stored) -> str:
    """Return the text by which the value of an image is remembered."""
    if isinstance(image, FilePart):
        return f"{image.path.absolute()}@{image.place}"
    return os.fspath(image.absolute())


def _read(read: Callable[[Stored], bytes], image: Stored) -> tuple[Stat, bytes] | OSError:
    """Return the value, with a stat from before reading: it differs if the file changes during the read."""
    before = state_of(image)
    if isinstance(before, OSError):
        return before
    try:
        return before, read(image)
    except OSError as error:
        return error
