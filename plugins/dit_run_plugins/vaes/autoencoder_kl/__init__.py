"""autoencoder_kl: the VAE of Stable Diffusion, SD3, Flux and relatives (Rombach et al., 2022, arXiv:2112.10752)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from dit_run.hub import MOVED, local_path, tensor_shapes
from dit_run.options import HubOrPath
from dit_run.problems import InputError, Problem
from dit_run.protocols import Adjustment, RuleContext
from dit_run_plugins.vaes.autoencoder_kl.families import CLASSES, FAMILIES, family_of
from dit_run_plugins.vaes.latent_rule import latents_fit
from dit_run_plugins.vaes.pretrained_vae import CONFIG_FILES, PretrainedVae

__all__ = ["AutoencoderKl", "kl_latents_fit"]

_KNOWN = {*MOVED, *MOVED.values(), "stabilityai/sd-vae-ft-mse", "stabilityai/sd-vae-ft-mse-original"}
"""Hub names that have this config."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderKl(PretrainedVae):
    """Latents of a KL-regularised autoencoder, drawn at each visit from a cached mean and standard deviation."""

    pretrained_model_name: Annotated[str, HubOrPath] = "runwayml/stable-diffusion-v1-5"
    """Hub name, local folder or file: a pipeline with a `vae` subfolder, a VAE in diffusers' layout, or a single file
    in the original layout (`.safetensors`, or `.ckpt` and similar if they contain only tensors)."""
    family: Literal["sd", "sdxl", "sd3", "flux", "flux2"] | None = None
    """Family of a single file, which has no config.json with its scale; null recognises the family by the tensors."""


def kl_latents_fit(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """Refuse sizes and channels that do not fit a local folder's config or that of a well-known name."""
    return latents_fit(context, _known_config(context.options), "block_out_channels", CLASSES)


def _known_config(options: AutoencoderKl) -> Mapping[str, Any]:
    """Return the config as far as it is known without a download; empty where it is not."""
    name = options.pretrained_model_name
    local = local_path(name)
    if local is None:
        return FAMILIES["sd"] if name in _KNOWN else {}
    if local.is_file():
        family = options.family or _family_in(local)
        return FAMILIES[family] if family is not None else {}
    return options.weights().local_object(*CONFIG_FILES) or {}


def _family_in(file: Path) -> str | None:
    """Return the family of a safetensors file by its header; a checkpoint is read later, when it is needed."""
    if file.suffix != ".safetensors":
        return None
    try:
        return family_of(tensor_shapes(file))
    except InputError:  # reported when the VAE is built
        return None
