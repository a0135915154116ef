"""Autoencoders: images to latents and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["VAE", "ImageEncoder"]


class ImageEncoder(Protocol):
    """A frozen torch module that encodes images: the half of a :class:`VAE` that the cache uses."""

    latent_channels: int
    factor: int
    """Image pixels per position of the output along a side."""
    cacheable: bool

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the output for images [n, 3, H, W] in [-1, 1], as that of a VAE."""
        ...

    def fingerprint(self) -> str:
        """Return a hex digest, 16 digits or more, of everything that decides the output of ``encode``."""
        ...


class VAE(Protocol):
    """``build(options) -> VAE``: a frozen torch module in eval mode that maps images to scaled latents and back.

    Images are float [n, 3, H, W] in [-1, 1]. Latents are float [n, latent_channels, H / factor, W / factor], scaled and
    shifted to about unit variance; the model is trained on them.

    A VAE may load the weights of each half at its first use, and have a method ``release()`` that frees their memory
    until the next use: with a complete cache ``encode`` is never called, and ``decode`` only when an image is sampled.

    A VAE that is a class of diffusers may have a method ``to_diffusers()``, which returns that module with its weights.
    It raises :class:`dit_run.problems.NotInDiffusers` with the reason where its latents are others than those of the
    module. An export then can use a pipeline of diffusers itself.

    A VAE without a posterior may have the attribute ``posterior = False``: then no noise is drawn for its latents.
    """

    latent_channels: int
    factor: int
    """Image pixels per latent pixel along a side; 1 in pixel space."""
    cacheable: bool
    """False if latents are not worth caching, because encoding costs nothing."""

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return mean and standard deviation of the latents, or mean and None for an encoder without a posterior.

        Called without gradients, on squares of ``data.image_size``. The latents of an image depend on that image alone.
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Return images, float [n, 3, H, W], clamped to [-1, 1], for latents of any height and width."""
        ...

    def fingerprint(self) -> str:
        """Return a hex digest, 16 digits or more, of everything that decides the output of ``encode``.

        Cached latents are found by it and by the code of the plugin, which the core adds. Called only if ``cacheable``
        is True.
        """
        ...
