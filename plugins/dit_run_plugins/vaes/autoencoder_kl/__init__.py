"""autoencoder_kl: the VAE of Stable Diffusion and its relatives (Rombach et al., 2022, arXiv:2112.10752)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from dit_run.hub import MOVED, Pretrained, local_path, on_hub
from dit_run.options import HubOrPath, Operational, acts_if
from dit_run.problems import Problem
from dit_run.protocols import Adjustment, RuleContext
from dit_run_plugins.vaes.latent_rule import latents_fit

__all__ = ["CONFIG_FILES", "STABLE_DIFFUSION", "AutoencoderKl", "kl_latents_fit"]

CONFIG_FILES = ("vae/config.json", "config.json")
"""Places of a VAE's config: a pipeline's subfolder, or the top of a repository."""

STABLE_DIFFUSION: Mapping[str, Any] = {
    "_class_name": "AutoencoderKL",
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "act_fn": "silu",
    "norm_num_groups": 32,
    "sample_size": 256,
    "scaling_factor": 0.18215,
}
"""Config of Stable Diffusion 1's VAE, for weights that come without one."""

_KNOWN = {*MOVED, *MOVED.values(), "stabilityai/sd-vae-ft-mse", "stabilityai/sd-vae-ft-mse-original"}
"""Hub names that have this config."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderKl:
    """Latents of a KL-regularised autoencoder, drawn at each visit from a cached mean and standard deviation."""

    pretrained_model_name: Annotated[str, HubOrPath] = "runwayml/stable-diffusion-v1-5"
    """Hub name, local folder or file: a pipeline with a `vae` subfolder, a VAE in diffusers' layout, or a single file
    in the original layout (`.safetensors`, or `.ckpt` and similar if they contain only tensors)."""
    revision: Annotated[str | None, Operational, acts_if("pretrained_model_name", on_hub)] = None
    """Branch, tag or commit on the hub; null uses the newest."""
    use_slicing: Annotated[bool, Operational] = False
    """Encode and decode image by image: less memory, slower."""


def kl_latents_fit(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """Refuse sizes and channels that do not fit a local folder's config or that of a well-known name."""
    name = context.options.pretrained_model_name
    local = local_path(name)
    if local.is_file() if local is not None else name in _KNOWN:
        config: Mapping[str, Any] = STABLE_DIFFUSION
    else:
        config = Pretrained(name, "vae.pretrained_model_name").local_object(*CONFIG_FILES) or {}
    return latents_fit(context, config, "block_out_channels")
