"""Pixel space as a torch module."""

from __future__ import annotations

from torch import Tensor, nn

from dit_run_plugins.vaes.identity import Identity

__all__ = ["IdentityVae", "build"]


class IdentityVae(nn.Module):
    """Implements :class:`dit_run.protocols.VAE`: latents are the images."""

    latent_channels = 3
    factor = 1
    cacheable = False
    posterior = False

    def encode(self, images: Tensor) -> tuple[Tensor, None]:
        return images, None

    def decode(self, latents: Tensor) -> Tensor:
        return latents.clamp(-1, 1)

    def fingerprint(self) -> str:
        return "identity"


def build(options: Identity) -> IdentityVae:
    return IdentityVae()
