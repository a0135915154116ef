"""autoencoder_dc: the deep compression autoencoder DC-AE (Chen et al., 2024, arXiv:2410.10733)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from dit_run.options import HubOrPath
from dit_run.problems import Problem
from dit_run.protocols import Adjustment, RuleContext
from dit_run_plugins.vaes.latent_rule import latents_fit
from dit_run_plugins.vaes.pretrained_vae import CONFIG_FILES, PretrainedVae

__all__ = ["AutoencoderDc", "dc_latents_fit"]


@dataclass(frozen=True, kw_only=True)
class AutoencoderDc(PretrainedVae):
    """Latents of 1/32 of the image's side, with 32 channels and without a posterior, as Sana has them."""

    pretrained_model_name: Annotated[str, HubOrPath] = "mit-han-lab/dc-ae-f32c32-sana-1.1-diffusers"
    """Hub name or local folder: a DC-AE in diffusers' layout, or a pipeline with a `vae` subfolder."""


def dc_latents_fit(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """Refuse sizes and channels that do not fit a local folder's config.json."""
    found = context.options.weights().local_object(*CONFIG_FILES) or {}
    return latents_fit(context, found, "encoder_block_out_channels", ["AutoencoderDC"])
