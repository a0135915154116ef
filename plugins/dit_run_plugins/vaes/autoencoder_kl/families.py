"""Families of KL autoencoders: the configs of weights that come as a single file, without a config.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["CLASSES", "FAMILIES", "FLUX2", "family_of"]

FLUX2 = "AutoencoderKLFlux2"
"""The class whose latents are normalised by running statistics instead of a factor."""
CLASSES = ("AutoencoderKL", FLUX2)

_STABLE_DIFFUSION: Mapping[str, Any] = {
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
_SIXTEEN: Mapping[str, Any] = {
    **_STABLE_DIFFUSION,
    "latent_channels": 16,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}

FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "sd": _STABLE_DIFFUSION,
    "sdxl": {**_STABLE_DIFFUSION, "scaling_factor": 0.13025},
    "sd3": {**_SIXTEEN, "scaling_factor": 1.5305, "shift_factor": 0.0609},
    "flux": {**_SIXTEEN, "scaling_factor": 0.3611, "shift_factor": 0.1159},
    "flux2": {
        **{name: value for name, value in _STABLE_DIFFUSION.items() if name != "scaling_factor"},
        "_class_name": FLUX2,
        "latent_channels": 32,
        "patch_size": [2, 2],
        "batch_norm_eps": 1e-4,
    },
}
"""The config of each family, from the repositories of their first releases."""

_MARKS: Mapping[int, Mapping[str, str]] = {
    4: {"conditioner.embedders.": "sdxl", "": "sd"},
    16: {"joint_blocks.": "sd3", "double_blocks.": "flux"},
    32: {"": "flux2"},
}
"""Parts of the names in whole checkpoints that show the family, by the number of latent channels."""


def family_of(shapes: Mapping[str, Sequence[int]]) -> str | None:
    """Return the family of weights with these names and shapes; None where they do not show it.

    Four channels without a mark are taken for Stable Diffusion's. The autoencoders of SD3 and Flux alone differ only in
    their values.
    """
    first = next((shape for name, shape in shapes.items() if name.endswith("decoder.conv_in.weight")), None)
    marks = _MARKS.get(first[1], {}) if first is not None and len(first) == 4 else {}
    return next((family for mark, family in marks.items() if any(mark in name for name in shapes)), None)
