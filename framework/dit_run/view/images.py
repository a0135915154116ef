"""Images for the page, as WebP: one sample, a thumbnail, or a whole file made smaller."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from dit_run.runs.reading.sample_grids import SampleGrid

__all__ = ["cell_webp", "file_webp", "thumbnail_webp"]

_LOSSLESS = 160
"""Side of an image (pixels) up to which it is kept without loss: samples of tiny models show each pixel."""


def cell_webp(grid: SampleGrid, index: int, *, side: int | None = None, quality: int = 90) -> bytes | None:
    """Return one sample of a grid, at most ``side`` pixels wide; None if the grid has no such sample."""
    box = grid.box(index)
    if box is None:
        return None
    image = _opened(grid.path)
    return None if image is None else _encoded(image.crop(box), side, quality)


def file_webp(path: Path, *, side: int | None = None, quality: int = 85) -> bytes | None:
    """Return an image file, at most ``side`` pixels wide and high; None if it cannot be read."""
    image = _opened(path)
    return None if image is None else _encoded(image, side, quality)


def thumbnail_webp(grid: SampleGrid, *, side: int = 160, quality: int = 85) -> bytes | None:
    """Return the first four samples of a grid, or one, or all of a grid that is not laid out as expected."""
    boxes = [box for index in range(4) if (box := grid.box(index)) is not None]
    image = _opened(grid.path)
    if image is None or not boxes:
        return None if image is None else _encoded(image, side, quality)
    across = 2 if len(boxes) == 4 else 1
    each = side // across
    sheet = Image.new("RGB", (side, side))
    for index, box in enumerate(boxes[: across**2]):
        sample = image.crop(box).resize((each, each), Image.Resampling.BOX)
        sheet.paste(sample, (index % across * each, index // across * each))
    return _encoded(sheet, None, quality)


def _opened(path: Path) -> Image.Image | None:
    try:
        with Image.open(path, formats=["PNG"]) as file:
            return file.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _encoded(image: Image.Image, side: int | None, quality: int) -> bytes:
    if side is not None and max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, "WEBP", quality=quality, method=2, lossless=max(image.size) <= _LOSSLESS)
    return data.getvalue()
