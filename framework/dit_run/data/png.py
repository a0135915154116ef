"""PNG chunks: checksums, which Pillow does not verify for pixels, and what Pillow would refuse though pixels are whole.

Large texts and profiles are left out before Pillow reads the file; a file that ends after its pixels is completed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import BinaryIO, NamedTuple

from dit_run.data.header_error import HeaderError

__all__ = ["SIGNATURE", "PreparedPng", "prepare_png"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_BLOCK = 2**20
_MAX_CHUNK = 2**20
"""Largest text or private chunk that Pillow may read (bytes), the limit of Pillow itself for compressed ones."""
_MAX_EXTRAS = 16 * 2**20
"""Largest sum of such chunks, and largest colour profile (bytes)."""
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_COMPRESSED = (b"zTXt", b"iTXt", b"iCCP")
_END = b"\0\0\0\0IEND\xaeB`\x82"


class PreparedPng(NamedTuple):
    """A PNG that Pillow reads."""

    file: BinaryIO
    profile: bytes | None
    """The colour profile where it is too large for Pillow."""
    has_late_extras: bool
    """True if a chunk after the pixels may hold EXIF."""


class _Chunk(NamedTuple):
    name: bytes
    start: int
    end: int
    """End of the chunk in the file, checksum included."""
    size: int
    """Size of the payload, decompressed (bytes)."""
    profile: bytes | None


def prepare_png(file: BinaryIO) -> PreparedPng:
    """Read all chunks and verify their checksums (PNG specification, section 5). Raises HeaderError."""
    chunks = list(_chunks(file))
    extras = [chunk for chunk in chunks if chunk.name not in _PIXELS]
    profile = next((chunk.profile for chunk in extras if chunk.profile and chunk.size > _MAX_CHUNK), None)
    fitting = all(chunk.size <= _MAX_CHUNK for chunk in extras) and sum(chunk.size for chunk in extras) <= _MAX_EXTRAS
    names = [chunk.name for chunk in chunks]
    late = any(name not in (*_PIXELS, *_ANIMATION) for name in names[names.index(b"IDAT") :])
    if fitting and names[-1] == b"IEND":
        return PreparedPng(file, None, late)
    return PreparedPng(_without_extras(file, chunks), profile, late)


def _without_extras(file: BinaryIO, chunks: Sequence[_Chunk]) -> BinaryIO:
    """Return the file in memory without animation and large chunks, and with an end."""
    kept, room = BytesIO(), _MAX_EXTRAS
    kept.write(SIGNATURE)
    for chunk in chunks:
        extra = chunk.name not in _PIXELS
        room -= chunk.size if extra and chunk.size <= _MAX_CHUNK else 0
        if chunk.name not in _ANIMATION and not (extra and (chunk.size > _MAX_CHUNK or room < 0)):
            file.seek(chunk.start)
            kept.write(file.read(chunk.end - chunk.start))
    if chunks[-1].name != b"IEND":
        kept.write(_END)
    return kept


def _chunks(file: BinaryIO) -> Iterator[_Chunk]:
    """Yield all whole chunks up to the end. A cut after the pixels is no error: Pillow checks whether all are there."""
    file.seek(len(SIGNATURE))
    name, has_pixels = b"", False
    while name != b"IEND":
        start, header = file.tell(), file.read(8)
        if len(header) < 8:
            break
        length, name = struct.unpack(">I4s", header)
        _check_length(name, length)
        payload = _verified(file, name, length)
        if payload is None:
            has_pixels = has_pixels and name != b"IDAT"
            break
        has_pixels = has_pixels or name == b"IDAT"
        size, profile = _decompressed(name, payload, length)
        yield _Chunk(name, start, file.tell(), size, profile)
    if not has_pixels:
        raise HeaderError("it is cut short")


def _check_length(name: bytes, length: int) -> None:
    if length > (0 if name == b"IEND" else _MAX_CHUNK) and name in _PIXELS and name != b"IDAT":
        raise HeaderError(f"its {name.decode()!r} chunk has {length:,} bytes: the file is damaged")


def _verified(file: BinaryIO, name: bytes, length: int) -> bytes | None:
    """Return the payload of a compressed text or profile, or nothing of another chunk; None if the chunk is cut off."""
    checksum, payload = zlib.crc32(name), bytearray()
    for begin in range(0, length, _BLOCK):
        block = file.read(min(_BLOCK, length - begin))
        if len(block) < min(_BLOCK, length - begin):
            return None
        checksum = zlib.crc32(block, checksum)
        if name in _COMPRESSED and length <= _MAX_EXTRAS:
            payload += block
    stored = file.read(4)
    if len(stored) < 4:
        return None
    if struct.unpack(">I", stored)[0] != checksum:
        raise HeaderError(f"the checksum of its {name.decode('latin-1')!r} chunk is wrong: the file is damaged")
    return bytes(payload)


def _decompressed(name: bytes, payload: bytes, length: int) -> tuple[int, bytes | None]:
    """Return the size of a chunk when it is decompressed, at least, and the profile that it holds."""
    text = payload.partition(b"\0")[2]  # what follows the keyword
    if name == b"iTXt":
        text = text[2:].split(b"\0", 2)[-1] if text[:1] == b"\1" else b""
    if not text or name not in _COMPRESSED:
        return length, None
    try:
        content = zlib.decompressobj().decompress(text[1:] if name != b"iTXt" else text, _MAX_EXTRAS + 1)
    except zlib.error:
        return length, None
    return max(length, len(content)), content if name == b"iCCP" and len(content) <= _MAX_EXTRAS else None
