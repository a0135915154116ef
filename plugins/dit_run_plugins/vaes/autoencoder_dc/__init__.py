"""autoencoder_dc: the deep compression autoencoder DC-AE (Chen et al., 2024, arXiv:2410.10733)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from dit_run.hub import Pretrained, on_hub
from dit_run.options import HubOrPath, Operational, acts_if
from dit_run.problems import Problem
from dit_run.protocols import Adjustment, RuleContext
from dit_run_plugins.vaes.diffusers_autoencoder import CONFIG_FILES
from dit_run_plugins.vaes.latent_rule import latents_fit

__all__ = ["AutoencoderDc", "dc_latents_fit"]


@dataclass(frozen=True, kw_only=True)
class AutoencoderDc:
    """Latents of 1/32 of the image's side, with 32 channels and without a posterior, as Sana has them."""

    pretrained_model_name: Annotated[str, HubOrPath] = "mit-han-lab/dc-ae-f32c32-sana-1.1-diffusers"
    """Hub name or local folder: a DC-AE in diffusers' layout, or a pipeline with a `vae` subfolder."""
    revision: Annotated[str | None, Operational, acts_if("pretrained_model_name", on_hub)] = None
    """Branch, tag or commit on the hub; null uses the newest."""
    use_slicing: Annotated[bool, Operational] = False
    """Encode and decode image by image: less memory, slower."""


def dc_latents_fit(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """Refuse sizes and channels that do not fit a local folder's config.json."""
    weights = Pretrained(context.options.pretrained_model_name, "vae.pretrained_model_name")
    return latents_fit(context, weights.local_object(*CONFIG_FILES) or {}, "encoder_block_out_channels")
