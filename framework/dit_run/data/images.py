"""Images: from the image of a sample to the pixels that are trained on.

The stored image is cropped to the wanted aspect ratio, converted to 8-bit sRGB by its embedded colour profile,
composited on the background where it is transparent, resized with an antialiased bicubic filter, and rotated by its
EXIF orientation. JPEG is decoded by libjpeg-turbo (simplejpeg) and resized by torch's vectorised uint8 kernel, other
formats by Pillow; the two ways agree within 0.01 of 255 on average.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Callable, Iterator
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from dit_run.data.aspect_buckets import Size
from dit_run.data.colours import to_srgb
from dit_run.data.formats import extra_decoders
from dit_run.data.headers import HeaderError, open_image, orientation_of
from dit_run.data.resizing import box_of, crop_and_resize, resize_pixels
from dit_run.data.scratch import Scratch
from dit_run.problems import InputError
from dit_run.system.file_ranges import FilePart

__all__ = ["PREPROCESSING_VERSION", "decoder", "encoded_size", "image_size", "read_image"]

PREPROCESSING_VERSION = 3
"""Version of the preprocessing, raised by hand when the pixels of :func:`read_image` change; part of cache keys."""

_READ_AT_ONCE = 4 * 2**20

_scratch = Scratch()

Pixels = NDArray[np.uint8]
StoredImage = Path | FilePart

_UNREADABLE = (HeaderError, OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""Errors of reading an image."""
_FIRST_SIDEWAYS = 5
"""EXIF orientations from this number on exchange height and width."""
_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels.transpose(1, 0, 2)[:, ::-1],
    7: lambda pixels: pixels.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda pixels: pixels.transpose(1, 0, 2)[::-1],
}


def decoder() -> str:
    """Return the versions of the libraries that decide pixels, for cache keys."""
    import PIL
    import simplejpeg
    import torch
    from PIL import features

    libraries = {
        "simplejpeg": simplejpeg.__version__,
        "torch": torch.__version__,
        "pillow": PIL.__version__,
        "littlecms": features.version("littlecms2"),
        **extra_decoders(),
    }
    return ", ".join(f"{name} {version}" for name, version in libraries.items())


def image_size(image: StoredImage | Callable[[], Image.Image]) -> Size:
    """Return height and width of an image, after the rotation by its EXIF orientation, from its header alone.

    Raises InputError as :func:`read_image` does for a file that cannot be opened.
    """
    if not isinstance(image, Path | FilePart):
        return _upright_size(image())
    with _translated(image), _open(image) as file:
        return _upright_size(open_image(file))


def encoded_size(data: bytes) -> Size | None:
    """Return :func:`image_size` of an encoded image, or None if it cannot be opened."""
    try:
        return _upright_size(open_image(BytesIO(data)))
    except _UNREADABLE:
        return None


def _upright_size(image: Image.Image) -> Size:
    return _turned_size((image.height, image.width), orientation_of(image))


def read_image(
    image: StoredImage | Callable[[], Image.Image], size: Size, *, background: str = "white", offset: float = 0.5
) -> Pixels:
    """Return an image as uint8 [height, width, 3], RGB, for a size (height, width).

    The largest part with the size's aspect ratio is used, in whole pixels. ``offset`` in [0, 1) places it along the
    side that stands out: 0.5 is the centre, and uniform draws give each place the same probability. An animation gives
    its first frame.

    Raises InputError, naming the file, if it is missing, not a regular file, of no format in
    :data:`dit_run.data.formats.FORMATS` by content, larger than MAX_PIXELS, cut or broken. Memory grows by at most 8
    bytes per pixel of the header and 64 MiB for PNG and JPEG, 12 for progressive JPEG, 24 for other formats.
    """
    if not isinstance(image, Path | FilePart):
        return _generated(image(), size, background, offset)
    with _translated(image), _open(image) as file:
        stored = open_image(file)
        orientation = orientation_of(stored)
        size = _turned_size(size, orientation)
        pixels = _plain_jpeg(file, stored, size, offset)
        if pixels is None:
            pixels = _by_pillow(stored, size, background, offset)
        return _turned(pixels, orientation)


@contextlib.contextmanager
def _translated(image: StoredImage) -> Iterator[None]:
    """Raise InputError, naming the file, for every error of reading an image."""
    try:
        yield
    except _UNREADABLE as error:
        raise InputError(f"cannot read the image {image}: {_reason(error)}") from error


def _generated(image: Image.Image, size: Size, background: str, offset: float) -> Pixels:
    orientation = orientation_of(image)
    size = _turned_size(size, orientation)
    pixels = crop_and_resize(image, box_of(*image.size, size, offset), size, background, to_srgb(image))
    return _turned(pixels, orientation)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _open(path: StoredImage) -> BinaryIO:
    """Open an image; one of usual size is read into memory at once."""
    if isinstance(path, FilePart):
        return BytesIO(path.read())
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise HeaderError("it is a folder" if stat.S_ISDIR(status.st_mode) else "it is not a regular file")
    if status.st_size > _READ_AT_ONCE:
        return path.open("rb")
    with path.open("rb", buffering=0) as file:
        return BytesIO(file.read(status.st_size))


def _turned_size(size: Size, orientation: int) -> Size:
    """Return the size in the stored image of a size in the upright one, and the reverse."""
    return size if orientation < _FIRST_SIDEWAYS else (size[1], size[0])


def _scale(image: ImageFile, size: Size) -> int:
    """Return by which factor a JPEG is decoded smaller: the part used stays at least 4 times as wide as ``size``.

    The resized image then differs from that of the whole by less than 0.4 of 255 on average.
    """
    if image.format != "JPEG":
        return 1
    height, width = size
    left, top, right, bottom = box_of(*image.size, size, 0.0)
    fits = min((right - left) // width, (bottom - top) // height)
    return next((scale for scale in (8, 4, 2) if fits >= scale * 4), 1)


def _plain_jpeg(file: BinaryIO, image: ImageFile, size: Size, offset: float) -> Pixels | None:
    """Return the pixels of an RGB or grey JPEG by the fast way, or None for any other image.

    Colours are converted after the resizing, which takes a small part of the time and gives the same within 1 of 255.
    """
    convert = to_srgb(image)
    if image.format != "JPEG" or image.mode not in (("RGB", "L") if convert is None else ("RGB",)):
        return None
    pixels = _jpeg(file, image, size, offset)
    return pixels if pixels is None or convert is None else np.array(convert(Image.fromarray(pixels)))


def _jpeg(file: BinaryIO, image: ImageFile, size: Size, offset: float) -> Pixels | None:
    """Return the pixels by the fast way, or None for a JPEG with flaws that Pillow may accept.

    Bytes after the end are such a flaw.
    """
    import simplejpeg

    scale, box = _scale(image, size), box_of(*image.size, size, offset)
    width, height = (ceil(side / scale) for side in image.size)
    whole = _scratch.array("whole", height, width, 3)
    file.seek(0)
    try:
        pixels = simplejpeg.decode_jpeg(file.read(), min_height=height, min_width=width, min_factor=scale, buffer=whole)
    except ValueError:
        return None
    if scale > 1:
        return crop_and_resize(Image.fromarray(pixels), [edge / scale for edge in box], size)
    left, top, right, bottom = box
    part = _scratch.array("part", bottom - top, right - left, 3)
    part[:] = pixels[top:bottom, left:right]
    return resize_pixels(part, size)


def _by_pillow(image: ImageFile, size: Size, background: str, offset: float) -> Pixels:
    scale = _scale(image, size)
    box = [edge / scale for edge in box_of(*image.size, size, offset)]
    if scale > 1:
        image.draft(None, (image.width // scale, image.height // scale))  # type: ignore[arg-type]
    return crop_and_resize(image, box, size, background, to_srgb(image))


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    turn = _TURNS.get(orientation)
    return np.ascontiguousarray(turn(pixels) if turn else pixels)
