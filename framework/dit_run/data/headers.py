"""Image headers: format by content, size and orientation, read by Pillow before any pixel is decoded.

Files are not trusted. The formats are limited to three, a JPEG must end its header within :data:`MAX_EXTRA_BYTES`, and
all chunks of a PNG are checked here, because Pillow does not verify the checksums of pixels.
"""

from __future__ import annotations

import os
import struct
import zlib
from io import BytesIO
from typing import BinaryIO

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from dit_run.system.lfs_pointers import LFS_START, LFS_TEXT

__all__ = ["MAX_EXTRA_BYTES", "HeaderError", "decoding_bytes", "open_image", "orientation_of"]

MAX_EXTRA_BYTES = 16 * 2**20
"""Largest size of everything except the compressed pixels, such as profiles, thumbnails and comments (bytes)."""

_MAX_WEBP_BYTES = 48 * 2**20
"""Largest WebP file, which Pillow reads whole (bytes). Its pixels could not be decoded in the memory that is left."""
_WEBP_DECODING = 16.0
"""Memory to decode WebP (bytes per pixel, measured): Pillow decodes every WebP as an animation with two canvases, and
libwebp holds lossless pixels once more."""
_PNG = b"\x89PNG\r\n\x1a\n"
_BLOCK = 2**20
_ORIENTATION = 0x0112


class HeaderError(ValueError):
    """The format is unknown or the structure is broken; the message says what was found."""


def open_image(file: BinaryIO) -> ImageFile:
    """Return the image in an open file, by its content and not yet decoded. Raises HeaderError."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(12)
    if start.startswith(b"\xff\xd8\xff"):
        if length > MAX_EXTRA_BYTES:
            _check_jpeg(file)
        return _opened(JpegImageFile, file)
    if start.startswith(_PNG):
        _check_png(file)
        return _opened(PngImageFile, file)
    if start.startswith(b"RIFF") and start[8:] == b"WEBP":
        if length > _MAX_WEBP_BYTES:
            raise HeaderError(f"its {length:,} bytes are more than the {_MAX_WEBP_BYTES:,} allowed for WebP")
        return _opened(WebPImageFile, file)
    if len(start) == 12 and LFS_START.startswith(start):
        raise HeaderError(f"it is {LFS_TEXT}")
    raise HeaderError(f"expected JPEG, PNG or WebP, but it begins with {start!r}" if start else "it is empty")


def _opened(kind: type[ImageFile], file: BinaryIO) -> ImageFile:
    """Open without Image.open, which tries one format after another and has a limit of pixels of its own."""
    file.seek(0)
    try:
        return kind(file)
    except Exception as error:  # a broken header makes Pillow's parsers fail in any way
        raise HeaderError(f"its header is cut short, broken or without pixels ({error})") from error


def _check_jpeg(file: BinaryIO) -> None:
    """Refuse a JPEG whose pixels start after the first MAX_EXTRA_BYTES, which is all that Pillow may read here."""
    file.seek(0)
    try:
        complete = bool(_opened(JpegImageFile, BytesIO(file.read(MAX_EXTRA_BYTES))).tile)
    except HeaderError:
        complete = False
    if not complete:
        raise HeaderError(f"its header is broken, or holds more than {MAX_EXTRA_BYTES} bytes before its pixels")


def _check_png(file: BinaryIO) -> None:
    """Read all chunks and verify their checksums (PNG specification, section 5)."""
    file.seek(len(_PNG))
    name, extras = b"", 0
    while name != b"IEND":
        length, name = struct.unpack(">I4s", _exactly(file, 8))
        extras += 0 if name == b"IDAT" else length
        if extras > MAX_EXTRA_BYTES:
            raise HeaderError(f"it holds more than {MAX_EXTRA_BYTES} bytes in addition to its pixels")
        checksum = zlib.crc32(name)
        for begin in range(0, length, _BLOCK):
            checksum = zlib.crc32(_exactly(file, min(_BLOCK, length - begin)), checksum)
        if struct.unpack(">I", _exactly(file, 4))[0] != checksum:
            raise HeaderError(f"the checksum of its {name.decode('latin-1')!r} chunk is wrong: the file is damaged")


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise HeaderError("it is cut short")
    return data


def decoding_bytes(image: ImageFile) -> float:
    """Return the memory of the decoder in addition to the decoded image (bytes per pixel).

    The decoder of a progressive JPEG holds 16-bit coefficients of all components.
    """
    if image.format == "WEBP":
        return _WEBP_DECODING
    if not isinstance(image, JpegImageFile) or "progressive" not in image.info:
        return 0.0
    across, down = zip(*((across, down) for _, across, down, _ in image.layer), strict=True)
    return 2.0 * sum(map(int.__mul__, across, down)) / (max(across) * max(down) or 1)


def orientation_of(image: Image.Image) -> int:
    """Return the orientation, 1 to 8, as Pillow's ``exif_transpose`` finds it: in EXIF, a PNG's text, XMP or TIFF tags.

    1 if there is no orientation or it is broken. Loads a PNG, which may have its EXIF after the pixels.
    """
    try:
        value = image.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001 (broken EXIF makes Pillow's parsers fail in any way)
        return 1
    return next((number for number in range(1, 9) if number == value), 1)
