"""Mean and standard deviation of each channel of latents, which a model learns best when they are near 0 and 1."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LatentStatistics"]

MAX_MEAN = 1.0
"""Largest distance of a channel's mean from 0."""
DEVIATIONS = (0.5, 2.0)
"""Least and largest standard deviation of a channel."""


@dataclass(frozen=True)
class LatentStatistics:
    """Mean and standard deviation by channel, over some images."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def of(cls, latents: Tensor) -> LatentStatistics:
        """Return the statistics of latents [n, c, h, w]."""
        channels = latents.float().transpose(0, 1).flatten(1)
        return cls(tuple(channels.mean(1).tolist()), tuple(channels.std(1, correction=0).tolist()))

    @classmethod
    def over(cls, posteriors: Iterable[tuple[Tensor, Tensor | None]]) -> LatentStatistics:
        """Return the statistics of latents in batches of mean and, unless None, deviation of their posterior."""
        total, squares, count = torch.zeros(()), torch.zeros(()), 0
        for mean, deviation in posteriors:
            values = mean.cpu().double()
            spread = torch.zeros_like(values) if deviation is None else deviation.cpu().double()
            total = total + values.sum((0, 2, 3))
            squares = squares + (values.square() + spread.square()).sum((0, 2, 3))
            count += values.numel() // values.shape[1]
        mean = total / count
        return cls(tuple(mean.tolist()), tuple((squares / count - mean.square()).clamp(min=0).sqrt().tolist()))

    @property
    def text(self) -> str:
        """All channels, as ``mean -0.12 0.40, standard deviation 0.98 1.20``."""
        mean, deviation = (" ".join(f"{value:.2f}" for value in values) for values in (self.mean, self.deviation))
        return f"mean {mean}, standard deviation {deviation}"

    def warning(self) -> str | None:
        """Return a notice that names the channels far from mean 0 and standard deviation 1; None without any."""
        low, high = DEVIATIONS
        far = [
            str(channel)
            for channel, (mean, deviation) in enumerate(zip(self.mean, self.deviation, strict=True))
            if abs(mean) > MAX_MEAN or not low <= deviation <= high
        ]
        if not far:
            return None
        count = f"channel {far[0]}" if len(far) == 1 else f"channels {', '.join(far)}"
        return (
            f"the latents of {count} are far from mean 0 and standard deviation 1 ({self.text}); "
            "set vae.normalize: data, or check the scale and shift in the VAE's config.json: the noise process expects "
            "about unit variance"
        )
