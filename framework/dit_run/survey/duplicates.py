"""Duplicates: samples whose image files have the same content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from dit_run.protocols import Dataset, FilePart, FileRange

__all__ = ["duplicates"]

StoredImage = Path | FilePart


def duplicates(dataset: Dataset, indices: Sequence[int]) -> list[list[int]]:
    """Return groups of samples, two or more each, whose files have the same bytes; largest groups first.

    Only files of one length are read. Images that are generated, or that cannot be read, count as different.
    """
    by_length: dict[int, list[int]] = {}
    for index in indices:
        length = _length(dataset[index].image)
        if length is not None:
            by_length.setdefault(length, []).append(index)
    groups = [group for alike in by_length.values() if len(alike) > 1 for group in _equal(dataset, alike)]
    return sorted(groups, key=lambda group: (-len(group), group))


def _equal(dataset: Dataset, indices: Iterable[int]) -> list[list[int]]:
    by_content: dict[bytes, list[int]] = {}
    for index in indices:
        content = _content(dataset[index].image)
        if content is not None:
            by_content.setdefault(hashlib.sha256(content).digest(), []).append(index)
    return [group for group in by_content.values() if len(group) > 1]


def _length(image: object) -> int | None:
    """Return the number of bytes of a stored image; 0 where it is known only after reading."""
    if isinstance(image, FileRange):
        return image.size
    if isinstance(image, FilePart):
        return 0
    try:
        return image.stat().st_size if isinstance(image, Path) else None
    except OSError:
        return None


def _content(image: object) -> bytes | None:
    try:
        if isinstance(image, FilePart):
            return image.read()
        return image.read_bytes() if isinstance(image, Path) else None
    except OSError:
        return None
