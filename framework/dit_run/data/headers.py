"""Image headers: format by content, size and orientation, read by Pillow before any pixel is decoded.

Files are not trusted. What stands before the pixels of a JPEG or GIF, and in the tags of a TIFF, is limited to
:data:`MAX_EXTRA_BYTES`, and all chunks of a PNG are checked.
"""

from __future__ import annotations

import os
from io import BytesIO
from typing import BinaryIO

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile

from dit_run.data.formats import FORMATS, Format, format_of
from dit_run.data.header_error import HeaderError
from dit_run.data.image_sizes import check_tiff_tags, jxl_size
from dit_run.data.png import prepare_png
from dit_run.system.lfs_pointers import LFS_START, LFS_TEXT

__all__ = ["MAX_EXTRA_BYTES", "MAX_PIXELS", "HeaderError", "open_image", "orientation_of"]

MAX_PIXELS = 2**28
"""Limit of pixels in the header, such as 16,384 × 16,384: more than any camera and any WebP has."""
MAX_EXTRA_BYTES = 64 * 2**20
"""Largest size of everything except the pixels, such as profiles, thumbnails, comments and further frames (bytes)."""

_MAX_IN_MEMORY = 2**30
_ORIENTATION = 0x0112


def open_image(file: BinaryIO) -> ImageFile:
    """Return the image in an open file, by its content and not yet decoded. Raises HeaderError."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(4096)
    format = format_of(start)
    if start.startswith(LFS_START):
        raise HeaderError(f"it is {LFS_TEXT}")
    if format is None:
        names = ", ".join(format.name for format in FORMATS)
        raise HeaderError(f"expected {names}, but it begins with {start[:12]!r}" if start else "it is empty")
    if format.name == "PNG":
        return _opened_png(file)
    _check_before_opening(format, file, length, start)
    image = _opened(format.load(), file)
    _check_size(image.width, image.height, length if format.in_memory else 0)
    return image


def _check_before_opening(format: Format, file: BinaryIO, length: int, start: bytes) -> None:
    """Refuse what a reader could not open in limited memory."""
    if format.in_memory and length > _MAX_IN_MEMORY:
        raise HeaderError(f"its {length:,} bytes are more than the {_MAX_IN_MEMORY:,} allowed")
    if format.name in ("JPEG", "GIF") and length > MAX_EXTRA_BYTES:
        _check_start(format, file)
    if format.name == "TIFF":
        check_tiff_tags(file, MAX_EXTRA_BYTES)
    if format.name == "JXL":  # its reader decodes the pixels at once
        _check_size(*jxl_size(start), length)


def _check_size(width: int, height: int, held: int) -> None:
    """Raise HeaderError for too many pixels, or a file of ``held`` bytes in memory that is far larger than those."""
    area, sides = width * height, f"{width} × {height} pixels"
    if area > MAX_PIXELS:
        raise HeaderError(f"{sides} are more than the {MAX_PIXELS:,} that are allowed; save it smaller")
    if held > MAX_EXTRA_BYTES + 3 * area:
        raise HeaderError(f"its {held:,} bytes are too many for {sides}")


class _EarlyPng(PngImageFile):
    """A PNG with nothing after its pixels: its EXIF is known without loading them."""

    def getexif(self) -> Image.Exif:
        return Image.Image.getexif(self)


def _opened_png(file: BinaryIO) -> ImageFile:
    prepared = prepare_png(file)
    image = _opened(PngImageFile if prepared.has_late_extras else _EarlyPng, prepared.file)
    _check_size(image.width, image.height, 0)
    if prepared.profile is not None:
        image.info["icc_profile"] = prepared.profile
    return image


def _opened(kind: type[ImageFile], file: BinaryIO) -> ImageFile:
    """Open without Image.open, which tries one format after another and has a limit of pixels of its own."""
    file.seek(0)
    try:
        return kind(file)
    except Exception as error:  # a broken header makes Pillow's parsers fail in any way
        raise HeaderError(f"its header is cut short, broken or without pixels ({error})") from error


def _check_start(format: Format, file: BinaryIO) -> None:
    """Refuse an image whose pixels start after the first MAX_EXTRA_BYTES, which is all that Pillow may read here."""
    file.seek(0)
    try:
        complete = bool(_opened(format.load(), BytesIO(file.read(MAX_EXTRA_BYTES))).tile)
    except HeaderError:
        complete = False
    if not complete:
        raise HeaderError(f"its header is broken, or holds more than {MAX_EXTRA_BYTES} bytes before its pixels")


def orientation_of(image: Image.Image) -> int:
    """Return the orientation, 1 to 8, as Pillow's ``exif_transpose`` finds it: in EXIF, a PNG's text, XMP or TIFF tags.

    1 if there is no orientation or it is broken, and for a TIFF, which Pillow turns when it loads the pixels. Loads a
    PNG that has something after its pixels, which may be its EXIF.
    """
    if image.format == "TIFF":
        return 1
    try:
        value = image.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001 (broken EXIF makes Pillow's parsers fail in any way)
        return 1
    return next((number for number in range(1, 9) if number == value), 1)
