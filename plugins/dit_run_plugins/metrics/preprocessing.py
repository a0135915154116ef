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
from dit_run_plugins.timm_models import TimmInput

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
    edge: int
    """Pixels on the left and above the crop."""
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
        return cls(side, crop, (side - crop) // 2, resample, mean, std)

    @classmethod
    def of_timm(cls, given: TimmInput) -> Preprocessing:
        """Return the preprocessing of a model of timm, which rounds the place of the crop in a way of its own."""
        edge = round((given.resized - given.side) / 2)
        return cls(given.resized, given.side, edge, given.resample, given.mean, given.std)

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """Return float32 [3, crop, crop] for a square image of any size."""
        resized = image.convert("RGB").resize((self.side, self.side), self.resample)
        end = self.edge + self.crop
        pixels = np.asarray(resized.crop((self.edge, self.edge, end, end)), dtype=np.float32) / 255
        normal = (pixels - np.array(self.mean, dtype=np.float32)) / np.array(self.std, dtype=np.float32)
        return np.ascontiguousarray(normal.transpose(2, 0, 1))


def _side(size: Any) -> int:
    """Return the side that 224, ``{"shortest_edge": 224}`` or ``{"height": 224, "width": 224}`` gives."""
    if isinstance(size, dict):
        size = size["shortest_edge"] if "shortest_edge" in size else size["height"]
    return int(size)
