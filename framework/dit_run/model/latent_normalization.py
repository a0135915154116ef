"""The normalisation of latents by their mean and standard deviation in the training data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["LATENT_PREFIX", "LatentNormalization"]

LATENT_PREFIX = "latent_normalization."
"""Prefix of the mean and the deviation among the trained tensors."""


class LatentNormalization(nn.Module):
    """Maps each channel of latents to mean 0 and standard deviation 1, and back. It begins as the identity."""

    mean: Tensor
    """float32 [c]."""
    deviation: Tensor
    """float32 [c], above 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))

    @property
    def is_identity(self) -> bool:
        """True before it is set."""
        return not self.mean.any() and bool((self.deviation == 1).all())

    def set(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        """Take the mean and the standard deviation of each channel; a constant channel is shifted and not scaled."""
        self.mean.copy_(torch.tensor(mean))
        self.deviation.copy_(torch.tensor([value if value > 0 else 1.0 for value in deviation]))

    def forward(self, mean: Tensor, deviation: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return normalised latents [n, c, h, w], given as the mean and the deviation of each value's posterior."""
        scale = self._by_channel(self.deviation)
        return (mean - self._by_channel(self.mean)) / scale, None if deviation is None else deviation / scale

    def undone(self, latents: Tensor) -> Tensor:
        """Return the latents [n, c, h, w] of the VAE from normalised ones."""
        return latents * self._by_channel(self.deviation) + self._by_channel(self.mean)

    @staticmethod
    def _by_channel(values: Tensor) -> Tensor:
        return values.view(1, -1, 1, 1)
