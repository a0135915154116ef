"""Conversion of a KL autoencoder's weights from the original layout, and diffusers' older one, to the current layout.

The original layout is that of the CompVis code (``encoder.down.0.block.1.conv1.weight``), alone or in a whole
checkpoint under ``first_stage_model.``. Its attention has 1x1 convolutions instead of linear layers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

__all__ = ["current_name", "current_tensors"]

_PREFIXES = ("first_stage_model.", "vae.")
_ATTENTION = {
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
    "norm": "group_norm",
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}
_ATTENTION_NAME = re.compile(r"^(.*\.mid_block\.attentions\.0\.)(\w+)(\.\w+)$")
_RENAMES = (
    (re.compile(r"^(encoder)\.down\.(\d+)\.block\.(\d+)\."), r"\1.down_blocks.\2.resnets.\3."),
    (re.compile(r"^(encoder)\.down\.(\d+)\.downsample\.conv\."), r"\1.down_blocks.\2.downsamplers.0.conv."),
    (re.compile(r"^(\w+)\.mid\.attn_1\."), r"\1.mid_block.attentions.0."),
    (re.compile(r"^(\w+)\.norm_out\."), r"\1.conv_norm_out."),
    (re.compile(r"^(?:encoder|decoder)\.((?:post_)?quant_conv)\."), r"\1."),
)
_MID_BLOCK = re.compile(r"^(\w+)\.mid\.block_(\d+)\.")
_UP_BLOCK = re.compile(r"^(decoder)\.up\.(\d+)\.(block|upsample)\.(\d+\.)?")


def current_name(name: str, levels: int) -> str:
    """Return the current name of a weight; ``levels`` is the number of resolutions. Current names stay the same."""
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    for pattern, replacement in _RENAMES:
        name = pattern.sub(replacement, name)
    name = _MID_BLOCK.sub(lambda m: f"{m[1]}.mid_block.resnets.{int(m[2]) - 1}.", name)
    name = _UP_BLOCK.sub(lambda m: _up_block(m, levels), name)
    name = _ATTENTION_NAME.sub(lambda m: f"{m[1]}{_ATTENTION.get(m[2], m[2])}{m[3]}", name)
    return name.replace(".nin_shortcut.", ".conv_shortcut.")


def _up_block(match: re.Match[str], levels: int) -> str:
    """Count resolutions in the decoder's order, as diffusers does; the original layout counts from the finest."""
    block = f"{match[1]}.up_blocks.{levels - 1 - int(match[2])}"
    return f"{block}.resnets.{match[4]}" if match[3] == "block" else f"{block}.upsamplers.0."


def current_tensors(tensors: Mapping[str, Tensor], levels: int) -> dict[str, Tensor]:
    """Return the weights under their current names, attention's 1x1 convolutions as matrices."""
    renamed = {current_name(name, levels): value for name, value in tensors.items()}
    return {
        name: value.flatten(1) if ".attentions." in name and value.ndim == 4 else value
        for name, value in renamed.items()
    }
