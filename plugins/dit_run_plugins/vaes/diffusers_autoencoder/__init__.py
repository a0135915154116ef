"""diffusers_autoencoder: any autoencoder of images in the diffusers library, by the class in its config.json."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from dit_run.hub import Pretrained, on_hub
from dit_run.options import HubOrPath, Operational, acts_if
from dit_run.problems import Problem
from dit_run.protocols import Adjustment, RuleContext
from dit_run_plugins.vaes.latent_rule import latents_fit

__all__ = ["CONFIG_FILES", "DiffusersAutoencoder", "channels_fit"]

CONFIG_FILES = ("vae/config.json", "config.json")
"""Places of an autoencoder's config: a pipeline's subfolder, or the top of a repository."""


@dataclass(frozen=True, kw_only=True)
class DiffusersAutoencoder:
    """Latents of any class of diffusers that encodes images, such as VQModel or AutoencoderKLHunyuanImage."""

    pretrained_model_name: Annotated[str, HubOrPath] = "hunyuanvideo-community/HunyuanImage-2.1-Diffusers"
    """Hub name or local folder: an autoencoder in diffusers' layout, or a pipeline with a `vae` subfolder."""
    revision: Annotated[str | None, Operational, acts_if("pretrained_model_name", on_hub)] = None
    """Branch, tag or commit on the hub; null uses the newest."""
    use_slicing: Annotated[bool, Operational] = False
    """Encode and decode image by image: less memory, slower."""


def channels_fit(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """Refuse channels that do not fit a local folder's config.json; the factor is known when the VAE is built."""
    weights = Pretrained(context.options.pretrained_model_name, "vae.pretrained_model_name")
    return latents_fit(context, weights.local_object(*CONFIG_FILES) or {}, "")
