"""What an image file says of itself before anything is decoded: format by content, size, orientation.

Reads a few bytes of JPEG and WebP; walks all chunks of a PNG, because only their checksums show damage. Nothing here
trusts a file: lengths are checked against what is there, and memory stays below :data:`MAX_EXTRA_BYTES`.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["MAX_EXTRA_BYTES", "HeaderError", "ImageHeader", "orientation_of", "read_header"]

MAX_EXTRA_BYTES = 16 * 2**20
"""The most that a file may hold beside its compressed pixels: profiles, thumbnails, comments."""

_PNG = b"\x89PNG\r\n\x1a\n"
_BLOCK = 2**20
_WEBP_BYTES = 16.0
"""Measured: Pillow decodes all WebP as animations, with two canvases, and libwebp keeps lossless pixels once more."""


class HeaderError(ValueError):
    """The file is none of the known formats, or its structure is broken; the message says what was found."""


@dataclass(frozen=True)
class ImageHeader:
    """The format (``JPEG``, ``PNG``, ``WEBP``), the stored size in pixels and the EXIF orientation, 1 to 8."""

    format: str
    width: int
    height: int
    orientation: int = 1
    components: int = 0
    """Colour components of a JPEG: 1 is grey, 4 is CMYK."""
    decoding_bytes: float = 0.0
    """What a decoder holds for each pixel beside the decoded picture."""


def read_header(file: BinaryIO) -> ImageHeader:
    """The header of an open file, left at its start. Raises HeaderError."""
    file.seek(0)
    start = file.read(32)
    try:
        if start.startswith(b"\xff\xd8\xff"):
            return _jpeg(file)
        if start.startswith(_PNG):
            return _png(file)
        if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
            return _webp(file, start)
    except (struct.error, IndexError) as error:
        raise HeaderError("it ends inside its header") from error
    finally:
        file.seek(0)
    raise HeaderError(f"expected JPEG, PNG or WebP, but it begins with {start[:12]!r}" if start else "it is empty")


def _jpeg(file: BinaryIO) -> ImageHeader:
    """Walks the segments up to the frame header (ITU T.81, B.2)."""
    file.seek(2)
    orientation, extras = 1, 0
    while True:
        marker = _jpeg_marker(file)
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            continue
        (length,) = struct.unpack(">H", file.read(2))
        payload = _exactly(file, length - 2)
        extras += length
        if extras > MAX_EXTRA_BYTES:
            raise HeaderError(f"it holds more than {MAX_EXTRA_BYTES} bytes before its pixels")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", payload[1:5])
            return ImageHeader("JPEG", width, height, orientation, payload[5], _coefficient_bytes(marker, payload))
        if marker in (0xD9, 0xDA):
            raise HeaderError("it has no frame header")
        if marker == 0xE1 and payload.startswith(b"Exif\0\0"):
            orientation = orientation_of(payload)


def _coefficient_bytes(marker: int, frame: bytes) -> float:
    """A progressive JPEG is held as 16-bit coefficients of all its components until it is complete."""
    if marker not in (0xC2, 0xC6, 0xCA, 0xCE):
        return 0.0
    across = [byte >> 4 for byte in frame[7 : 6 + 3 * frame[5] : 3]]
    down = [byte & 15 for byte in frame[7 : 6 + 3 * frame[5] : 3]]
    blocks = sum(columns * rows for columns, rows in zip(across, down, strict=True))
    return 2.0 * blocks / (max(across, default=1) * max(down, default=1) or 1)


def _jpeg_marker(file: BinaryIO) -> int:
    byte = _exactly(file, 1)
    while byte != b"\xff":
        byte = _exactly(file, 1)
    while byte == b"\xff":
        byte = _exactly(file, 1)
    return byte[0]


def _png(file: BinaryIO) -> ImageHeader:
    """Walks all chunks and checks their checksums (PNG specification, section 5)."""
    file.seek(len(_PNG))
    header, orientation, extras = b"", 1, 0
    while True:
        length, name = struct.unpack(">I4s", file.read(8))
        if length > 2**31 - 1 or (not header and (name, length) != (b"IHDR", 13)):
            raise HeaderError("its first chunk is not a PNG header")
        extras += 0 if name == b"IDAT" else length
        if extras > MAX_EXTRA_BYTES:
            raise HeaderError(f"it holds more than {MAX_EXTRA_BYTES} bytes beside its pixels")
        payload = _png_chunk(file, name, length)
        header = payload if name == b"IHDR" else header
        orientation = orientation_of(payload) if name == b"eXIf" else orientation
        if name == b"IEND":
            width, height = struct.unpack(">II", header[:8])
            return ImageHeader("PNG", width, height, orientation)


def _png_chunk(file: BinaryIO, name: bytes, length: int) -> bytes:
    """The payload of a chunk, empty for pixels; raises HeaderError where it is cut or its checksum disagrees."""
    checksum, payload = zlib.crc32(name), b""
    for begin in range(0, length, _BLOCK):
        block = _exactly(file, min(_BLOCK, length - begin))
        checksum = zlib.crc32(block, checksum)
        payload = payload + block if name in (b"IHDR", b"eXIf") else payload
    if struct.unpack(">I", file.read(4))[0] != checksum:
        raise HeaderError(f"the checksum of its {name.decode('latin-1')!r} chunk is wrong: the file is damaged")
    return payload


def _webp(file: BinaryIO, start: bytes) -> ImageHeader:
    """The canvas size of the three kinds of WebP (RFC 9649)."""
    (declared,) = struct.unpack("<I", start[4:8])
    present = file.seek(0, os.SEEK_END)
    if present < declared + 8:
        raise HeaderError(f"it is cut: {declared + 8} bytes were declared, {present} are there")
    kind, body = start[12:16], start[20:]
    if kind == b"VP8X":
        width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
    elif kind == b"VP8L" and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = (size & 0x3FFF for size in struct.unpack("<HH", body[6:10]))
    else:
        raise HeaderError(f"its first WebP chunk is {kind!r}, which is none of VP8, VP8L and VP8X")
    return ImageHeader("WEBP", width, height, decoding_bytes=_WEBP_BYTES)


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count) if count >= 0 else b""
    if len(data) != count:
        raise HeaderError("it is cut short")
    return data


def orientation_of(exif: bytes) -> int:
    """The orientation, 1 to 8, in an EXIF block; 1 where there is none or the block is broken."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, at)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, at + 2 + 12 * entry)
            if tag == 0x0112:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
