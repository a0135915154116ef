"""Parts of files: an encoded image in a larger file, such as a member of a tar archive or a cell of a table."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from dit_run.digests import Stat

__all__ = ["FilePart", "FileRange", "file_state", "read_range", "state_of"]


class FilePart(ABC):
    """An encoded image inside a file. Picklable, cheap to make; its text names file and part, for messages."""

    path: Path
    """The file."""

    @property
    @abstractmethod
    def place(self) -> str:
        """A text that no other part of the file has; the digest of the bytes is remembered by it."""

    @abstractmethod
    def read(self) -> bytes:
        """Return the bytes of the encoded image. Raises OSError. Several threads may read at once."""

    def state(self) -> Stat:
        """Return four numbers; while they stay the same, so do the bytes of the part. Raises OSError."""
        return file_state(self.path)


@dataclass(frozen=True)
class FileRange(FilePart):
    """``size`` bytes of a file from ``offset`` on. They are read alone: nothing is unpacked."""

    path: Path
    offset: int
    size: int
    name: str
    """Name of the part, for messages."""

    def __str__(self) -> str:
        return f"{self.path}: {self.name}"

    @property
    def place(self) -> str:
        """Offset and size."""
        return f"{self.offset}+{self.size}"

    def read(self) -> bytes:
        """Return the bytes. Raises OSError, also if the file is shorter."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return read_range(descriptor, self.offset, self.size)
        finally:
            os.close(descriptor)


def read_range(descriptor: int, offset: int, size: int) -> bytes:
    """Return bytes of an open file. Raises OSError, also if the file is shorter."""
    parts, left = [], size
    while left:
        part = os.pread(descriptor, left, offset + size - left)
        if not part:
            raise OSError(f"the file ends {left:,} bytes before the end of this part")
        parts.append(part)
        left -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def state_of(stored: Path | FilePart) -> Stat | OSError:
    """Return the state of a stored image, or the error of looking at it."""
    try:
        return stored.state() if isinstance(stored, FilePart) else file_state(stored)
    except OSError as error:
        return error


def file_state(path: Path) -> Stat:
    """Return size, mtime_ns, ctime_ns and inode of a regular file. Raises OSError: reading another might not end."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path} is not a regular file")
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
