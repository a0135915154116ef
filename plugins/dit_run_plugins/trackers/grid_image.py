"""Grids of sample images, as a run wrote them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

__all__ = ["open_grid_image"]


def open_grid_image(path: Path) -> Image.Image:
    """Return a grid, RGB, with its prompts in ``info``. Raises OSError."""
    with Image.open(path) as file:
        return file.convert("RGB")
