"""Bounds from the headers of TIFF and JPEG XL, whose readers would take any memory before they report a size."""

from __future__ import annotations

import struct
from typing import BinaryIO

from dit_run.data.header_error import HeaderError

__all__ = ["check_tiff_tags", "jxl_size"]

_TYPE_BYTES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)
"""Bytes of one value of each TIFF type, by its number."""
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Ratios of width to height that a JPEG XL header names by 1 to 7."""


def check_tiff_tags(file: BinaryIO, limit: int) -> None:
    """Refuse a TIFF whose first directory holds more than ``limit`` bytes of values (TIFF 6.0, section 2).

    Raises HeaderError. Tags may share bytes, so the size of the file is no bound.
    """
    file.seek(0)
    start = file.read(16)
    order, big = ("<" if start[:2] == b"II" else ">"), start[2:4] in (b"+\0", b"\0+")
    at, counter, entry = (8, "Q", "HHQ") if big else (4, "H", "HHI")
    try:
        file.seek(struct.unpack_from(order + ("Q" if big else "I"), start, at)[0])
        (count,) = struct.unpack(order + counter, file.read(8 if big else 2))
        entries = file.read(min(count, 65_535) * (20 if big else 12))
        tags = [
            struct.unpack_from(order + entry, entries, place) for place in range(0, len(entries), 20 if big else 12)
        ]
    except (struct.error, OverflowError, OSError) as error:
        raise HeaderError("its directory of tags is cut short or broken") from error
    if sum(number * _TYPE_BYTES[kind] for _, kind, number in tags if kind < len(_TYPE_BYTES)) > limit:
        raise HeaderError(f"its tags hold more than {limit:,} bytes")


def jxl_size(start: bytes) -> tuple[int, int]:
    """Return width and height from the first bytes of a JPEG XL file (ISO/IEC 18181-1, SizeHeader).

    Raises HeaderError.
    """
    bits = _Bits(_codestream(start))
    if bits.take(1):
        height = 8 * (bits.take(5) + 1)
        ratio = bits.take(3)
        width = 0 if ratio else 8 * (bits.take(5) + 1)
    else:
        height = bits.long()
        ratio = bits.take(3)
        width = 0 if ratio else bits.long()
    if ratio:
        across, down = _RATIOS[ratio - 1]
        width = height * across // down
    return width, height


class _Bits:
    """Bits of a byte string, the lowest first."""

    def __init__(self, data: bytes) -> None:
        self._value: int = int.from_bytes(data[:32], "little")
        self._left: int = 8 * min(32, len(data))

    def take(self, count: int) -> int:
        if count > self._left:
            raise HeaderError("its header is cut short")
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return value

    def long(self) -> int:
        widths = (9, 13, 18, 30)
        return self.take(widths[self.take(2)]) + 1


def _codestream(start: bytes) -> bytes:
    """Return the bytes after the signature of the codestream, which a container holds in a box."""
    if start.startswith(b"\xff\x0a"):
        return start[2:]
    at = 0
    while at + 8 <= len(start):
        length, name = struct.unpack_from(">I4s", start, at)
        if name in (b"jxlc", b"jxlp"):
            return start[at + (8 if name == b"jxlc" else 12) + 2 :]
        if length < 8:
            break
        at += length
    raise HeaderError("its header holds no pixels in its first bytes")
