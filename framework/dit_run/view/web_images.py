"""Images for the page, as WebP: one sample, a thumbnail, or a whole file made smaller."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image

from dit_run.runs.reading.sample_grids import SampleGrid

__all__ = ["cell_webp", "cells_webp", "file_webp", "thumbnail_webp"]

_LOSSLESS = 160
"""Side of an image (pixels) up to which it is kept without loss: samples of tiny models show each pixel."""


def cell_webp(grid: SampleGrid, index: int, *, side: int | None = None, quality: int = 90) -> bytes | None:
    """Return one sample of a grid, at most ``side`` pixels wide; None if the grid has no such sample."""
    return next(_cells(grid, (index,), side, quality), None)


def cells_webp(grid: SampleGrid, *, side: int | None = None, quality: int = 90) -> list[bytes]:
    """Return all samples of a grid in order; empty if it is not laid out as expected."""
    return list(_cells(grid, range(len(grid.prompts)), side, quality))


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


def _cells(grid: SampleGrid, indices: Iterable[int], side: int | None, quality: int) -> Iterator[bytes]:
    boxes = [box for index in indices if (box := grid.box(index)) is not None]
    image = _opened(grid.path) if boxes else None
    if image is not None:
        yield from (_encoded(_not_enlarged(image.crop(box)), side, quality) for box in boxes)


def _opened(path: Path) -> Image.Image | None:
    try:
        with Image.open(path, formats=["PNG"]) as file:
            return file.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _not_enlarged(image: Image.Image) -> Image.Image:
    """Return the image before each of its pixels was repeated, as a grid repeats those of small images."""
    for factor in (8, 4, 2):
        if image.width % factor == 0 and image.height % factor == 0:
            small = image.resize((image.width // factor, image.height // factor), Image.Resampling.NEAREST)
            if small.resize(image.size, Image.Resampling.NEAREST).tobytes() == image.tobytes():
                return small
    return image


def _encoded(image: Image.Image, side: int | None, quality: int) -> bytes:
    if side is not None and max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, "WEBP", quality=quality, method=2, lossless=max(image.size) <= _LOSSLESS)
    return data.getvalue()
