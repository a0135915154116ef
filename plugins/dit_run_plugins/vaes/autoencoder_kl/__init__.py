"""The VAE of Stable Diffusion and its kin (Rombach et al., 2022, arXiv:2112.10752)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from dit_run.config.rules import latent_problems
from dit_run.hub import MOVED, Pretrained, local_path
from dit_run.options import HubOrPath
from dit_run.problems import Problem
from dit_run.protocols import RuleContext

__all__ = ["CONFIG_FILES", "STABLE_DIFFUSION", "AutoencoderKl", "fits"]

CONFIG_FILES = ("vae/config.json", "config.json")
"""Where a repository describes its VAE: a pipeline in its subfolder, else at the top."""

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
"""The config of Stable Diffusion 1's VAE, for weights that come without one."""

_KNOWN = {*MOVED, *MOVED.values(), "stabilityai/sd-vae-ft-mse", "stabilityai/sd-vae-ft-mse-original"}
"""Hub names that have this config."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderKl:
    """Latents of a KL-regularised autoencoder; mean and standard deviation are cached, so sampling stays live."""

    pretrained_model_name: Annotated[str, HubOrPath] = "runwayml/stable-diffusion-v1-5"
    """Hub name, local folder or file: a pipeline with a `vae` subfolder, a VAE in diffusers' layout, or a single file
    in the original layout (`.safetensors`, or `.ckpt` and the like when they hold nothing but tensors)."""
    revision: str | None = None
    """Branch, tag or commit on the hub; null takes the newest."""
    use_slicing: bool = False
    """Encode and decode image by image: less memory, slower."""


def fits(context: RuleContext) -> Iterator[Problem]:
    """A rule: image size, patch size and channels fit, where a local folder or a well-known name tells."""
    name = context.options.pretrained_model_name
    local = local_path(name)
    if local.is_file() if local is not None else name in _KNOWN:
        config: Mapping[str, Any] = STABLE_DIFFUSION
    else:
        config = Pretrained(name, "vae.pretrained_model_name").local_object(*CONFIG_FILES) or {}
    channels, blocks = config.get("latent_channels"), config.get("block_out_channels")
    return latent_problems(
        context.config,
        vae=context.path,
        channels=channels if isinstance(channels, int) else None,
        factor=2 ** (len(blocks) - 1) if isinstance(blocks, list) and blocks else None,
    )
