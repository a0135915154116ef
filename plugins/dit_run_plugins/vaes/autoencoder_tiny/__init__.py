"""autoencoder_tiny: small autoencoders distilled from large ones (TAESD, https://github.com/madebyollin/taesd)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from dit_run.hub import Pretrained, on_hub
from dit_run.options import HubOrPath, Operational, acts_if
from dit_run.problems import Problem
from dit_run.protocols import Adjustment, RuleContext
from dit_run_plugins.vaes.latent_rule import latents_fit

__all__ = ["AutoencoderTiny", "tiny_latents_fit"]


@dataclass(frozen=True, kw_only=True)
class AutoencoderTiny:
    """Latents of a tiny autoencoder: fast, 8 pixels per latent pixel, without a posterior."""

    pretrained_model_name: Annotated[str, HubOrPath] = "madebyollin/taesd"
    """Hub name or local folder: a VAE in diffusers' layout, or a local folder with the original pair of files,
    `..._encoder.pth` and `..._decoder.pth` (also `.safetensors`)."""
    revision: Annotated[str | None, Operational, acts_if("pretrained_model_name", on_hub)] = None
    """Branch, tag or commit on the hub; null uses the newest."""
    use_slicing: Annotated[bool, Operational] = False
    """Encode and decode image by image: less memory, slower."""


def tiny_latents_fit(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """Refuse sizes and channels that do not fit a local folder's config.json."""
    weights = Pretrained(context.options.pretrained_model_name, "vae.pretrained_model_name")
    return latents_fit(context, weights.local_object("config.json") or {}, "encoder_block_out_channels")
