"""Parts of files: an encoded image in a larger file, such as a member of a tar archive or a cell of a table."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FilePart", "FileRange", "file_of"]


class FilePart(ABC):
    """An encoded image inside a file. Picklable, cheap to make; its text names file and part, for messages."""

    path: Path
    """The file. While its size and times stay the same, so do the bytes of the part."""

    @property
    @abstractmethod
    def place(self) -> str:
        """A text that no other part of the file has; the digest of the bytes is remembered by it."""

    @abstractmethod
    def read(self) -> bytes:
        """Return the bytes of the encoded image. Raises OSError. Several threads may read at once."""


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
            parts, left = [], self.size
            while left:
                part = os.pread(descriptor, left, self.offset + self.size - left)
                if not part:
                    raise OSError(f"the file ends {left:,} bytes before the end of this part")
                parts.append(part)
                left -= len(part)
        finally:
            os.close(descriptor)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def file_of(stored: Path | FilePart) -> Path:
    """Return the file that holds an image."""
    return stored.path if isinstance(stored, FilePart) else stored
