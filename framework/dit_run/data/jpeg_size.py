"""Size of a JPEG from its first bytes, for indices of millions of images."""

from __future__ import annotations

__all__ = ["jpeg_size"]

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers that begin a frame, with its size (ISO/IEC 10918-1, table B.1)."""
_METADATA = 0xE1
"""Marker of EXIF and XMP, which may turn the image."""


def jpeg_size(start: bytes) -> tuple[int, int] | None:
    """Return height and width; None if metadata may turn the image, or the first bytes do not hold a whole frame."""
    if start[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(start) and start[at] == 0xFF:
        marker, length = start[at + 1], int.from_bytes(start[at + 2 : at + 4])
        if marker in _FRAMES:
            height, width = int.from_bytes(start[at + 5 : at + 7]), int.from_bytes(start[at + 7 : at + 9])
            return (height, width) if height and width else None
        if marker == _METADATA or not 0xC0 <= marker <= 0xFE or length < 2 or 0xD0 <= marker <= 0xDA:
            return None
        at += 2 + length
    return None
