"""Preparing images for a vision model as its preprocessor_config.json or processor_config.json says.

Pillow does the work, because transformers' own processors need torchvision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dit_run.hub import Pretrained

__all__ = ["Preprocessing"]

_PLAIN: tuple[tuple[float, ...], tuple[float, ...]] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""Mean and deviation of images that stay in [0, 1]."""


@dataclass(frozen=True)
class Preprocessing:
    """Resizing (antialiased), centre crop and normalisation by channel."""

    side: int
    """Side (pixels) of a square image after resizing."""
    crop: int
    """Side (pixels) of the centre crop."""
    resample: Image.Resampling
    mean: tuple[float, ...]
    """Mean of each channel, for values in [0, 1]."""
    std: tuple[float, ...]
    """Standard deviation of each channel."""

    @classmethod
    def of(cls, weights: Pretrained) -> Preprocessing:
        """Read the file. Raises InputError if the file or a value in it is missing.

        Newer versions of transformers write one file for all processors, with the values of images as a part of it.
        """
        file = weights.need("preprocessor_config.json", "processor_config.json")
        values = weights.object(file.name)
        try:
            values = values.get("image_processor", values)
            side = _side(values["size"])
            crop = _side(values["crop_size"]) if values.get("do_center_crop") else side
            resample = Image.Resampling(values.get("resample", Image.Resampling.BICUBIC))
            mean, std = _PLAIN
            if values.get("do_normalize", True):
                mean, std = (tuple(float(value) for value in values[name]) for name in ("image_mean", "image_std"))
        except (KeyError, TypeError, ValueError) as error:
            raise weights.error(f"has a {file.name} without usable values: {error!r}") from error
        return cls(side, crop, resample, mean, std)

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """Return float32 [3, crop, crop] for a square image of any size."""
        resized = image.convert("RGB").resize((self.side, self.side), self.resample)
        edge = (self.side - self.crop) // 2
        pixels = np.asarray(resized.crop((edge, edge, edge + self.crop, edge + self.crop)), dtype=np.float32) / 255
        normal = (pixels - np.array(self.mean, dtype=np.float32)) / np.array(self.std, dtype=np.float32)
        return np.ascontiguousarray(normal.transpose(2, 0, 1))


def _side(size: Any) -> int:
    """Return the side that 224, ``{"shortest_edge": 224}`` or ``{"height": 224, "width": 224}`` gives."""
    if isinstance(size, dict):
        size = size["shortest_edge"] if "shortest_edge" in size else size["height"]
    return int(size)
