"""Pictures as files: tensors to images, grids with captions, PNG with text."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from torch import Tensor

from dit_run.system.durable import write_atomic

__all__ = ["grid", "save_png", "to_images"]

_SMALLEST_CELL = 128
_MARGIN = 4


def to_images(pixels: Tensor) -> list[Image.Image]:
    """RGB images from float [n, 3, H, W] in [-1, 1]."""
    levels = ((pixels.detach().float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return [Image.fromarray(np.ascontiguousarray(image)) for image in levels.permute(0, 2, 3, 1).cpu().numpy()]


def grid(images: Sequence[Image.Image], captions: Sequence[str] = (), *, columns: int | None = None) -> Image.Image:
    """One picture of all, row by row, each caption under its image. Small images are enlarged without smoothing."""
    enlarge = max(1, math.ceil(_SMALLEST_CELL / max(max(image.size) for image in images)))
    width = max(image.width for image in images) * enlarge
    height = max(image.height for image in images) * enlarge
    columns = columns or math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    font = ImageFont.load_default(size=11)
    texts = [textwrap.wrap(caption, max(8, width // 6), max_lines=4, placeholder=" …") for caption in captions]
    text_height = 13 * max((len(lines) for lines in texts), default=0)
    sheet = Image.new(
        "RGB",
        (columns * (width + _MARGIN) + _MARGIN, rows * (height + text_height + _MARGIN) + _MARGIN),
        "white",
    )
    draw = ImageDraw.Draw(sheet)
    for index, image in enumerate(images):
        left = _MARGIN + (index % columns) * (width + _MARGIN)
        top = _MARGIN + (index // columns) * (height + text_height + _MARGIN)
        sheet.paste(
            image.resize((image.width * enlarge, image.height * enlarge), Image.Resampling.NEAREST), (left, top)
        )
        if index < len(texts):
            draw.multiline_text((left, top + height), "\n".join(texts[index]), fill="black", font=font, spacing=1)
    return sheet


def save_png(path: Path, image: Image.Image, text: Mapping[str, str] | None = None) -> None:
    """Write a PNG whole or not at all; ``text`` becomes its metadata (iTXt, any Unicode)."""
    information = PngImagePlugin.PngInfo()
    for name, value in (text or {}).items():
        information.add_itxt(name, value)
    data = io.BytesIO()
    image.save(data, format="PNG", pnginfo=information)
    write_atomic(path, data.getvalue())
