"""Image files: images from tensors, PNG with text."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin
from torch import Tensor

from dit_run.system.durable import write_atomic

__all__ = ["save_png", "to_images"]


def to_images(pixels: Tensor) -> list[Image.Image]:
    """Return RGB images from float [n, 3, H, W] in [-1, 1]."""
    levels = ((pixels.detach().float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return [Image.fromarray(np.ascontiguousarray(image)) for image in levels.permute(0, 2, 3, 1).cpu().numpy()]


def save_png(path: Path, image: Image.Image, text: Mapping[str, str] | None = None) -> None:
    """Write a whole PNG or nothing; ``text`` becomes its metadata (iTXt, any Unicode)."""
    metadata = PngImagePlugin.PngInfo()
    for name, value in (text or {}).items():
        metadata.add_itxt(name, value)
    data = io.BytesIO()
    image.save(data, format="PNG", pnginfo=metadata)
    write_atomic(path, data.getvalue())
