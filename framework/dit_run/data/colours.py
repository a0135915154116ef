"""Colours: pixels in the colour space of an embedded ICC profile, converted to sRGB by Little CMS.

A profile that cannot be used is ignored, as browsers do: it is broken, or made for another kind of pixels than the
image has. Its pixels then count as sRGB, and CMYK is converted by Pillow's simple formula.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

__all__ = ["ToSrgb", "to_srgb"]

ToSrgb = Callable[[Image.Image], Image.Image]
"""Convert an image of the mode for which it was chosen, or the same with alpha, to RGB without alpha."""

_SPACES = {
    "RGB ": ("RGB", ("RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "YCbCr")),
    "GRAY": ("L", ("L", "LA", "La", "1", "I", "I;16", "I;16B", "I;16L")),
    "CMYK": ("CMYK", ("CMYK",)),
    "Lab ": ("LAB", ("LAB",)),
}
"""Mode of the pixels that a profile of each colour space takes, and the modes of images that it fits."""
_SAME = 2
"""Largest difference (of 255) at which a profile counts as sRGB; copies of sRGB round their numbers differently."""


def to_srgb(image: Image.Image) -> ToSrgb | None:
    """Return the conversion of an image's pixels to sRGB RGB, or None if they are sRGB or have no usable profile."""
    if image.mode == "LAB":
        return _lab()
    profile = image.info.get("icc_profile")
    return _conversion(profile, image.mode) if isinstance(profile, bytes) and profile else None


@lru_cache(maxsize=8)
def _conversion(profile: bytes, mode: str) -> ToSrgb | None:
    try:
        opened = ImageCms.ImageCmsProfile(BytesIO(profile))
        taken, fitting = _SPACES.get(opened.profile.xcolor_space, ("", ()))
        if mode not in fitting:
            return None
        transform = ImageCms.buildTransform(
            opened, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")), taken, "RGB"
        )
    except (OSError, TypeError, ValueError, ImageCms.PyCMSError):
        return None
    convert = _applied(transform)
    return None if _changes_nothing(convert, taken) else convert


@lru_cache(maxsize=1)
def _lab() -> ToSrgb:
    lab, srgb = (ImageCms.ImageCmsProfile(ImageCms.createProfile(name)) for name in ("LAB", "sRGB"))
    return _applied(ImageCms.buildTransform(lab, srgb, "LAB", "RGB"))


def _applied(transform: ImageCms.ImageCmsTransform) -> ToSrgb:
    def convert(image: Image.Image) -> Image.Image:
        return transform.apply(image if image.mode == transform.input_mode else image.convert(transform.input_mode))

    return convert


def _changes_nothing(convert: ToSrgb, mode: str) -> bool:
    """Return True if a conversion leaves a grid of RGB or grey colours as they are."""
    if mode not in ("RGB", "L"):
        return False
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    grid = np.stack(np.meshgrid(*[levels] * 3, indexing="ij"), axis=-1) if mode == "RGB" else levels[None, :, None]
    before = grid.reshape(-1, 1, 3) if mode == "RGB" else grid.reshape(-1, 1)
    after = np.asarray(convert(Image.fromarray(before)), dtype=int)
    return bool(np.abs(after - before.reshape(len(before), 1, -1)).max() <= _SAME)
