"""Image headers: format by content, size and orientation, read before decoding.

JPEG and WebP need a few bytes. All chunks of a PNG are read, because only their checksums show damage. Files are not
trusted: lengths are checked against the file, and memory stays below :data:`MAX_EXTRA_BYTES`.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["MAX_EXTRA_BYTES", "HeaderError", "ImageHeader", "orientation_of", "read_header"]

MAX_EXTRA_BYTES = 16 * 2**20
"""Largest size of everything except the compressed pixels, such as profiles, thumbnails and comments (bytes)."""

_PNG = b"\x89PNG\r\n\x1a\n"
_BLOCK = 2**20
_WEBP_BYTES = 16.0
"""Memory to decode WebP (bytes per pixel, measured): Pillow decodes every WebP as an animation with two canvases, and
libwebp holds lossless pixels once more."""


class HeaderError(ValueError):
    """The format is unknown or the structure is broken; the message says what was found."""


@dataclass(frozen=True)
class ImageHeader:
    """Format (``JPEG``, ``PNG``, ``WEBP``), stored size in pixels, and EXIF orientation, 1 to 8."""

    format: str
    width: int
    height: int
    orientation: int = 1
    components: int = 0
    """Colour components of a JPEG: 1 is grey, 4 is CMYK."""
    decoding_bytes: float = 0.0
    """Memory of the decoder in addition to the decoded image (bytes per pixel)."""


def read_header(file: BinaryIO) -> ImageHeader:
    """Return the header of an open file and seek back to its start. Raises HeaderError."""
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
    """Read the segments up to the frame header (ITU T.81, B.2)."""
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
    """Return the memory for coefficients per pixel: a progressive JPEG holds 16-bit coefficients of all components."""
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
    """Read all chunks and verify their checksums (PNG specification, section 5)."""
    file.seek(len(_PNG))
    header, orientation, extras = b"", 1, 0
    while True:
        length, name = struct.unpack(">I4s", file.read(8))
        if length > 2**31 - 1 or (not header and (name, length) != (b"IHDR", 13)):
            raise HeaderError("its first chunk is not a PNG header")
        extras += 0 if name == b"IDAT" else length
        if extras > MAX_EXTRA_BYTES:
            raise HeaderError(f"it holds more than {MAX_EXTRA_BYTES} bytes in addition to its pixels")
        payload = _png_chunk(file, name, length)
        header = payload if name == b"IHDR" else header
        orientation = orientation_of(payload) if name == b"eXIf" else orientation
        if name == b"IEND":
            width, height = struct.unpack(">II", header[:8])
            return ImageHeader("PNG", width, height, orientation)


def _png_chunk(file: BinaryIO, name: bytes, length: int) -> bytes:
    """Return the payload of a chunk, empty for pixels. Raises HeaderError if it is cut or its checksum is wrong."""
    checksum, payload = zlib.crc32(name), b""
    for begin in range(0, length, _BLOCK):
        block = _exactly(file, min(_BLOCK, length - begin))
        checksum = zlib.crc32(block, checksum)
        payload = payload + block if name in (b"IHDR", b"eXIf") else payload
    if struct.unpack(">I", file.read(4))[0] != checksum:
        raise HeaderError(f"the checksum of its {name.decode('latin-1')!r} chunk is wrong: the file is damaged")
    return payload


def _webp(file: BinaryIO, start: bytes) -> ImageHeader:
    """Read the canvas size of the three kinds of WebP (RFC 9649)."""
    (declared,) = struct.unpack("<I", start[4:8])
    present = file.seek(0, os.SEEK_END)
    if present < declared + 8:
        raise HeaderError(f"it is cut short: its header declares {declared + 8} bytes, the file has {present}")
    kind, body = start[12:16], start[20:]
    if kind == b"VP8X":
        width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
    elif kind == b"VP8L" and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = (size & 0x3FFF for size in struct.unpack("<HH", body[6:10]))
    else:
        raise HeaderError(f"its first WebP chunk is {kind!r}; expected VP8, VP8L or VP8X")
    return ImageHeader("WEBP", width, height, decoding_bytes=_WEBP_BYTES)


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count) if count >= 0 else b""
    if len(data) != count:
        raise HeaderError("it is cut short")
    return data


def orientation_of(exif: bytes) -> int:
    """Return the orientation, 1 to 8, of an EXIF block; 1 if it has none or is broken."""
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
