"""Resizing: the part of an image that is used, cropped, composited on a background, as 8-bit sRGB of a given size."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dit_run.data.aspect_buckets import Size
from dit_run.data.colours import ToSrgb

__all__ = ["box_of", "crop_and_resize", "resize_pixels"]

_BACKGROUNDS = {"white": (255, 255, 255), "gray": (128, 128, 128), "black": (0, 0, 0)}
"""Colours under transparent pixels, as RGB."""

_STRIP_PIXELS = 2**19

Pixels = NDArray[np.uint8]


def box_of(width: int, height: int, size: Size, offset: float) -> tuple[int, int, int, int]:
    """Return the largest part of an image with the aspect ratio of ``size``, (left, top, right, bottom)."""
    across = min(width, max(1, round(height * size[1] / size[0])))
    down = min(height, max(1, round(width * size[0] / size[1])))
    left, top = (int(offset * (free + 1)) for free in (width - across, height - down))
    return left, top, left + across, top + down


def crop_and_resize(
    image: Image.Image, box: Sequence[float], size: Size, background: str = "white", convert: ToSrgb | None = None
) -> Pixels:
    """Crop to the box (left, top, right, bottom), which may cut pixels, and resize.

    The image is read in strips, so that no second copy of it in its own mode is held.
    """
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise ValueError("its pixels are 32-bit numbers of an unknown range, not colours; save it with 8 or 16 bits")
    left, top, right, bottom = floor(box[0]), floor(box[1]), ceil(box[2]), ceil(box[3])
    part = Image.new("RGB", (right - left, bottom - top))
    rows = max(1, _STRIP_PIXELS // part.width)
    for above in range(top, bottom, rows):
        strip = image.crop((left, above, right, min(above + rows, bottom)))
        part.paste(_rgb(strip, _BACKGROUNDS[background], convert), (0, above - top))
    within = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    return np.array(part.resize((size[1], size[0]), Image.Resampling.BICUBIC, box=within))


def _rgb(image: Image.Image, background: tuple[int, int, int], convert: ToSrgb | None) -> Image.Image:
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if not image.has_transparency_data:
        return _colours(image, convert)
    image = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, background)
    canvas.paste(_colours(image, convert), mask=image)
    return canvas


def _colours(image: Image.Image, convert: ToSrgb | None) -> Image.Image:
    return image.convert("RGB") if convert is None else convert(image)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Convert 16-bit grey to 8-bit grey with rounding; a transparent value stays transparent."""
    clear = image.info.pop("transparency", None)
    values = image.convert("I")
    grey = values.point([(value * 255 + 32767) // 65535 for value in range(65536)], "L")
    if clear is not None:
        grey.putalpha(values.point([0 if value == clear else 255 for value in range(65536)], "L"))
    return grey


def resize_pixels(part: Pixels, size: Size) -> Pixels:
    """Resize with torch's antialiased bicubic kernel, directly into the result."""
    import torch

    result = np.empty((*size, 3), dtype=np.uint8)
    source, target = (torch.from_numpy(each).permute(2, 0, 1).unsqueeze(0) for each in (part, result))
    torch.ops.aten._upsample_bicubic2d_aa.out(source, list(size), False, out=target)
    return result
