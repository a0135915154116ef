"""Digests of files, remembered next to the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from dit_run.digests import Stat
from dit_run.system.file_ranges import FilePart
from dit_run.system.file_values import FileValues, Stored

__all__ = ["FileDigests"]


class FileDigests(FileValues):
    """SHA-256 of files."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "sha256", 32)

    def digests(self, images: Sequence[Stored]) -> Iterator[tuple[Stat, bytes] | OSError]:
        """Yield the stat and the digest of each file or part of one, or the error of reading it."""
        return self.values(images, _digest)


def _digest(image: Stored) -> bytes:
    if isinstance(image, FilePart):
        return hashlib.sha256(image.read()).digest()
    with open(image, "rb") as file:  # noqa: PTH123 (a quarter of the time for small files)
        return hashlib.file_digest(file, "sha256").digest()
