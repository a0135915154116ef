"""File ranges: an encoded image that is a part of a larger file, such as a member of a tar archive."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FileRange", "file_of"]


@dataclass(frozen=True)
class FileRange:
    """``size`` bytes of a file from ``offset`` on. They are read alone: nothing is unpacked."""

    path: Path
    offset: int
    size: int
    name: str
    """Name of the part, for messages."""

    def __str__(self) -> str:
        return f"{self.path}: {self.name}"

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


def file_of(stored: Path | FileRange) -> Path:
    """Return the file that holds an image."""
    return stored.path if isinstance(stored, FileRange) else stored
