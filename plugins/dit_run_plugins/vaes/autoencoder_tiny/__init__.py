"""Tiny autoencoders distilled from big ones (TAESD and its kin, https://github.com/madebyollin/taesd)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from dit_run.config.rules import latent_problems
from dit_run.hub import Pretrained
from dit_run.options import HubOrPath
from dit_run.problems import Problem
from dit_run.protocols import RuleContext

if TYPE_CHECKING:
    from dit_run_plugins.vaes.autoencoder_tiny.vae import TinyVae

__all__ = ["AutoencoderTiny", "build", "fits"]


@dataclass(frozen=True, kw_only=True)
class AutoencoderTiny:
    """Latents of a tiny autoencoder: quick, 8 pixels to a latent pixel, without a posterior."""

    pretrained_model_name: Annotated[str, HubOrPath] = "madebyollin/taesd"
    """Hub name or local folder: a VAE in diffusers' layout, or a local folder with the original pair of files,
    `..._encoder.pth` and `..._decoder.pth` (also `.safetensors`)."""
    revision: str | None = None
    """Branch, tag or commit on the hub; null takes the newest."""
    use_slicing: bool = False
    """Encode and decode image by image: less memory, slower."""


def build(options: AutoencoderTiny) -> TinyVae:
    """The VAE; files are found or downloaded now, each half's weights are read at its first use.

    Raises InputError when files are missing or belong to no such VAE.
    """
    from dit_run_plugins.vaes.autoencoder_tiny.vae import open_vae

    weights = Pretrained(options.pretrained_model_name, "vae.pretrained_model_name", options.revision)
    return open_vae(weights, use_slicing=options.use_slicing)


def fits(context: RuleContext) -> Iterator[Problem]:
    """A rule: image size, patch size and channels fit, where a local folder tells."""
    name = context.options.pretrained_model_name
    config = Pretrained(name, "vae.pretrained_model_name").local_object("config.json") or {}
    channels, blocks = config.get("latent_channels"), config.get("encoder_block_out_channels")
    return latent_problems(
        context.config,
        vae=context.path,
        channels=channels if isinstance(channels, int) else None,
        factor=2 ** (len(blocks) - 1) if isinstance(blocks, list) and blocks else None,
    )
