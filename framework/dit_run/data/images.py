"""From a sample's image to the square of pixels that training sees.

A square is cut from the stored picture, converted to 8-bit RGB, laid on the background where it is transparent,
resized with an antialiased bicubic filter and turned as its EXIF orientation says. JPEG is decoded by libjpeg-turbo
(simplejpeg) and resized by torch's vectorised uint8 kernel, everything else by Pillow; the two agree within 0.01 of 255
on average.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Callable, Sequence
from io import BytesIO
from math import ceil, floor
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dit_run.data.headers import MAX_EXTRA_BYTES, HeaderError, ImageHeader, orientation_of, read_header
from dit_run.data.scratch import Scratch
from dit_run.problems import InputError

__all__ = ["BACKGROUNDS", "MAX_PIXELS", "PREPROCESSING_VERSION", "decoder", "read_image"]

PREPROCESSING_VERSION = 2
"""Raised by hand when pixels that :func:`read_image` returns change; part of cache keys."""
MAX_PIXELS = 64_000_000
"""Larger pictures are refused from their header."""
BACKGROUNDS = {"white": (255, 255, 255), "gray": (128, 128, 128), "black": (0, 0, 0)}
"""What transparent parts can be laid on, as RGB."""

_DECODING_SPARE = 48 * 2**20
_STRIP_PIXELS = 2**19
_READ_AT_ONCE = 4 * 2**20

_scratch = Scratch()

Pixels = NDArray[np.uint8]

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
    """The libraries that decide pixels, for cache keys."""
    import PIL
    import simplejpeg
    import torch

    return f"simplejpeg {simplejpeg.__version__}, torch {torch.__version__}, pillow {PIL.__version__}"


def read_image(
    image: Path | Callable[[], Image.Image], size: int, *, background: str = "white", offset: float = 0.5
) -> Pixels:
    """The picture as uint8 [size, size, 3], RGB.

    ``offset`` in [0, 1) says where along its longer side the square is cut: 0.5 is the centre, and uniform draws give
    every place the same chance. Of animations the first picture is taken.

    Raises InputError, naming the file, for what is missing, no regular file, no JPEG, PNG or WebP by its content,
    larger than MAX_PIXELS, cut short or broken. Memory grows by at most 8 bytes per pixel of the header and 64 MiB.
    """
    if not isinstance(image, Path):
        picture = image()
        return _small(picture, _box(*picture.size, offset), size, background)
    try:
        with _open(image) as file:
            header = _checked_header(file, size)
            pixels = _jpeg(file, header, size, offset) if header.components in (1, 3) else None
            if pixels is not None:
                return _turned(pixels, header.orientation)
            return _by_pillow(file, header, size, background, offset)
    except (HeaderError, OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read the image {image}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _open(path: Path) -> BinaryIO:
    """The file; read at once where it is of a usual size."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise HeaderError("it is a folder" if stat.S_ISDIR(status.st_mode) else "it is not a regular file")
    if status.st_size > _READ_AT_ONCE:
        return path.open("rb")
    with path.open("rb", buffering=0) as file:
        return BytesIO(file.read(status.st_size))


def _checked_header(file: BinaryIO, size: int) -> ImageHeader:
    header = read_header(file)
    area, sides = header.width * header.height, f"{header.width} × {header.height} pixels"
    if area == 0:
        raise HeaderError(f"it is {sides}")
    if area > MAX_PIXELS:
        raise HeaderError(f"{sides} are more than the {MAX_PIXELS:,} allowed")
    held = file.seek(0, os.SEEK_END) if header.format != "PNG" else 0
    file.seek(0)
    if held > MAX_EXTRA_BYTES + 2 * area:
        raise HeaderError(f"its {held:,} bytes are too many for {sides}")
    if held + (header.decoding_bytes + 4 / _scale(header, size) ** 2) * area > 8 * area + _DECODING_SPARE:
        raise HeaderError(f"{sides} are too many to decode from this kind of {header.format}; save it in a plainer one")
    return header


def _scale(header: ImageHeader, size: int) -> int:
    """How many times smaller a JPEG may be decoded: a square at least 4 times as wide as asked for stays.

    From there the resized picture differs from that of the whole by less than 0.4 of 255 on average.
    """
    if header.format != "JPEG":
        return 1
    return next((scale for scale in (8, 4, 2) if min(header.width, header.height) >= scale * 4 * size), 1)


def _jpeg(file: BinaryIO, header: ImageHeader, size: int, offset: float) -> Pixels | None:
    """The square by the quick way, or None for a JPEG with flaws that Pillow may accept: bytes after its end."""
    import simplejpeg

    data = file.read()
    file.seek(0)
    scale, box = _scale(header, size), _box(header.width, header.height, offset)
    height, width = (ceil(side / scale) for side in (header.height, header.width))
    whole = _scratch.array("whole", height, width, 3)
    try:
        pixels = simplejpeg.decode_jpeg(data, min_height=height, min_width=width, min_factor=scale, buffer=whole)
    except ValueError:
        return None
    if scale > 1:
        return _small(Image.fromarray(pixels), [edge / scale for edge in box], size)
    left, top, right, bottom = box
    square = _scratch.array("square", bottom - top, right - left, 3)
    square[:] = pixels[top:bottom, left:right]
    return _resized(square, size)


def _resized(square: Pixels, size: int) -> Pixels:
    """What torch's interpolate makes of it, bicubic and antialiased, put where it is wanted at once."""
    import torch

    result = np.empty((size, size, 3), dtype=np.uint8)
    source, target = (torch.from_numpy(each).permute(2, 0, 1).unsqueeze(0) for each in (square, result))
    torch.ops.aten._upsample_bicubic2d_aa.out(source, [size, size], False, out=target)
    return result


def _by_pillow(file: BinaryIO, header: ImageHeader, size: int, background: str, offset: float) -> Pixels:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture: Image.Image = Image.open(file, formats=(header.format,))
    if picture.size != (header.width, header.height):
        raise HeaderError(f"its header says {header.width} × {header.height} pixels, its pixels {picture.size}")
    webp = header.format == "WEBP"
    orientation = orientation_of(picture.info.get("exif") or b"") if webp else header.orientation
    scale = _scale(header, size)
    picture.draft(None, (header.width // scale, header.height // scale))  # type: ignore[arg-type]
    box = [edge / scale for edge in _box(header.width, header.height, offset)]
    return _turned(_small(picture, box, size, background), orientation)


def _box(width: int, height: int, offset: float) -> tuple[int, int, int, int]:
    side = min(width, height)
    left, top = (int(offset * (free + 1)) for free in (width - side, height - side))
    return left, top, left + side, top + side


def _small(picture: Image.Image, box: Sequence[float], size: int, background: str = "white") -> Pixels:
    """The square within left, top, right and bottom, which may cut pixels: read in strips, so that no second copy of
    the picture is ever held in its own mode."""
    left, top, right, bottom = floor(box[0]), floor(box[1]), ceil(box[2]), ceil(box[3])
    square = Image.new("RGB", (right - left, bottom - top))
    rows = max(1, _STRIP_PIXELS // square.width)
    for above in range(top, bottom, rows):
        strip = picture.crop((left, above, right, min(above + rows, bottom)))
        square.paste(_rgb(strip, BACKGROUNDS[background]), (0, above - top))
    within = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    return np.array(square.resize((size, size), Image.Resampling.BICUBIC, box=within))


def _rgb(picture: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if picture.mode.startswith("I"):
        picture = _eight_bits(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        canvas = Image.new("RGB", picture.size, background)
        canvas.paste(picture, mask=picture)
        return canvas
    return picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """16-bit grey as 8-bit grey, rounded; a transparent value stays so."""
    clear = picture.info.pop("transparency", None)
    values = picture.convert("I")
    grey = values.point([(value * 255 + 32767) // 65535 for value in range(65536)], "L")
    if clear is not None:
        grey.putalpha(values.point([0 if value == clear else 255 for value in range(65536)], "L"))
    return grey


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    turn = _TURNS.get(orientation)
    return np.ascontiguousarray(turn(pixels) if turn else pixels)
