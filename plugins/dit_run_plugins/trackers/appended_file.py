"""A file that grows by whole pieces, also on a disk that is full for a while."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

__all__ = ["AppendedFile"]


class AppendedFile:
    """Appends in the caller's thread and without a buffer; each piece is whole before its write returns."""

    def __init__(self, path: Path, mode: Literal["ab", "xb"] = "ab") -> None:
        self._file = path.open(mode, buffering=0)
        self._end = self._file.seek(0, os.SEEK_END)

    def write(self, data: bytes) -> None:
        """Append a piece; after a failure (a full disk) the file ends where it ended before. Raises OSError."""
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:]) or 0
        except OSError:
            self._file.truncate(self._end)
            self._file.seek(self._end)
            raise
        self._end += len(data)

    def sync(self) -> None:
        """Force everything to the disk. Raises OSError."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
