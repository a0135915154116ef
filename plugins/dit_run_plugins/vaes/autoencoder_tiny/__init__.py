"""autoencoder_tiny: small autoencoders distilled from large ones (TAESD, https://github.com/madebyollin/taesd)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from dit_run.options import HubOrPath
from dit_run.problems import Problem
from dit_run.protocols import Adjustment, RuleContext
from dit_run_plugins.vaes.latent_rule import latents_fit
from dit_run_plugins.vaes.pretrained_vae import PretrainedVae

__all__ = ["AutoencoderTiny", "tiny_latents_fit"]


@dataclass(frozen=True, kw_only=True)
class AutoencoderTiny(PretrainedVae):
    """Latents of a tiny autoencoder: fast, 8 pixels per latent pixel, without a posterior."""

    pretrained_model_name: Annotated[str, HubOrPath] = "madebyollin/taesd"
    """Hub name or local folder: a VAE in diffusers' layout, or a local folder with the original pair of files,
    `..._encoder.pth` and `..._decoder.pth` (also `.safetensors`)."""


def tiny_latents_fit(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """Refuse sizes and channels that do not fit a local folder's config.json."""
    found = context.options.weights().local_object("config.json") or {}
    return latents_fit(context, found, "encoder_block_out_channels", ["AutoencoderTiny"])
