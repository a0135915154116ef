"""Pixel space as a torch module."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Pixels"]


class Pixels(nn.Module):
    """Implements :class:`dit_run.protocols.VAE` by passing images on."""

    latent_channels = 3
    factor = 1
    cacheable = False

    def encode(self, images: Tensor) -> tuple[Tensor, None]:
        return images, None

    def decode(self, latents: Tensor) -> Tensor:
        return latents.clamp(-1, 1)

    def fingerprint(self) -> str:
        return "identity"
