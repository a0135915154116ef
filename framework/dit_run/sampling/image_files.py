"""Image files: images from tensors, grids with captions, PNG with text."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, PngImagePlugin
from torch import Tensor

from dit_run.sampling.drawn_captions import LINE_HEIGHT, draw_line, wrapped
from dit_run.system.durable import write_atomic

__all__ = ["grid", "save_png", "to_images"]

_SMALLEST_CELL = 128
"""Pixels; images smaller than this are enlarged."""
_MARGIN = 4
"""Pixels."""


def to_images(pixels: Tensor) -> list[Image.Image]:
    """Return RGB images from float [n, 3, H, W] in [-1, 1]."""
    levels = ((pixels.detach().float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return [Image.fromarray(np.ascontiguousarray(image)) for image in levels.permute(0, 2, 3, 1).cpu().numpy()]


def grid(images: Sequence[Image.Image], captions: Sequence[str] = (), *, columns: int | None = None) -> Image.Image:
    """Return one image of all, row by row, each with its caption below it.

    Small images are enlarged without smoothing. ``columns`` None makes the grid about square.
    """
    enlarge = max(1, math.ceil(_SMALLEST_CELL / max(max(image.size) for image in images)))
    width = max(image.width for image in images) * enlarge
    height = max(image.height for image in images) * enlarge
    texts = [wrapped(caption, width) for caption in captions]
    text_height = LINE_HEIGHT * max((len(lines) for lines in texts), default=0)
    columns = columns or math.ceil(math.sqrt(len(images)))
    across, down = width + _MARGIN, height + text_height + _MARGIN
    rows = math.ceil(len(images) / columns)
    sheet = Image.new("RGB", (columns * across + _MARGIN, rows * down + _MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for index, image in enumerate(images):
        left, top = _MARGIN + (index % columns) * across, _MARGIN + (index // columns) * down
        enlarged = image.resize((image.width * enlarge, image.height * enlarge), Image.Resampling.NEAREST)
        sheet.paste(enlarged, (left, top))
        for line, text in enumerate(texts[index] if index < len(texts) else ()):
            draw_line(draw, (left, top + height + line * LINE_HEIGHT), text, width)
    return sheet


def save_png(path: Path, image: Image.Image, text: Mapping[str, str] | None = None) -> None:
    """Write a whole PNG or nothing; ``text`` becomes its metadata (iTXt, any Unicode)."""
    metadata = PngImagePlugin.PngInfo()
    for name, value in (text or {}).items():
        metadata.add_itxt(name, value)
    data = io.BytesIO()
    image.save(data, format="PNG", pnginfo=metadata)
    write_atomic(path, data.getvalue())
