"""Folders of images with captions, for datasets of type ``custom``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["write_images"]


def write_images(
    folder: Path, count: int, shapes: Sequence[tuple[int, int]], captions: str = "image {}", channels: int = 3
) -> None:
    """Write noise of these widths and heights, in turn, each with a file of its captions, one on each line."""
    folder.mkdir()
    for number in range(count):
        width, height = shapes[number % len(shapes)]
        pixels = np.random.default_rng(number).integers(0, 255, (height, width, channels), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(captions.replace("{}", str(number)))
