"""diffusers_autoencoder: any autoencoder of images in the diffusers library, by the class in its config.json."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from dit_run.options import HubOrPath
from dit_run.problems import Problem
from dit_run.protocols import Adjustment, RuleContext
from dit_run_plugins.vaes.latent_rule import latents_fit
from dit_run_plugins.vaes.pretrained_vae import CONFIG_FILES, PretrainedVae

__all__ = ["DiffusersAutoencoder", "channels_fit"]


@dataclass(frozen=True, kw_only=True)
class DiffusersAutoencoder(PretrainedVae):
    """Latents of any class of diffusers that encodes images, such as VQModel or AutoencoderKLHunyuanImage."""

    pretrained_model_name: Annotated[str, HubOrPath] = "hunyuanvideo-community/HunyuanImage-2.1-Diffusers"
    """Hub name or local folder: an autoencoder in diffusers' layout, or a pipeline with a `vae` subfolder."""


def channels_fit(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """Refuse channels that do not fit a local folder's config.json; the factor is known when the VAE is built."""
    return latents_fit(context, context.options.weights().local_object(*CONFIG_FILES) or {}, "")
