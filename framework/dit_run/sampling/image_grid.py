"""Grid of images, each with its caption below it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from dit_run.sampling.drawn_captions import LINE_HEIGHT, draw_line, wrapped

__all__ = ["grid"]

_SMALLEST_CELL = 128
"""Pixels; images smaller than this are enlarged."""
_MARGIN = 4
"""Pixels."""


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
