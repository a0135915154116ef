"""dit: a diffusion transformer conditioned on the timestep and on text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from dit_run.options import NonNegativeInt, Operational, PositiveFloat, PositiveInt, acts_unless, bounds

__all__ = ["Dit", "mlp_width", "routed_range"]


@dataclass(frozen=True, kw_only=True)
class Dit:
    """Diffusion transformer (Peebles and Xie 2023) with cross-attention to text (Chen et al. 2024)."""

    hidden_size: PositiveInt = 768
    """Width of a patch's state."""
    num_layers: PositiveInt = 16
    """Number of transformer blocks."""
    num_heads: PositiveInt = 12
    """Number of attention heads; must divide hidden_size."""
    patch_size: PositiveInt = 2
    """Side of a patch in latent pixels."""
    in_channels: PositiveInt = 4
    """Latent channels of the input; must equal those of the VAE, which they are if the key is not written."""
    out_channels: PositiveInt = 4
    """Latent channels of the output; must equal in_channels, which they are if the key is not written."""
    attention_head_dim: PositiveInt | None = None
    """Width of a head. null means hidden_size / num_heads; any other value must equal it."""
    mlp_ratio: PositiveFloat = 4.0
    """Hidden width of a block's MLP divided by hidden_size. `mlp: swiglu` has three matrices instead of two and uses
    two thirds of it, so that the number of parameters is that of a plain MLP."""
    dropout: Annotated[float, bounds(ge=0, lt=1)] = 0.1
    """Dropout rate in training on the outputs of attention and MLP."""
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    """Normalisation. `layernorm` is one fused operation on every device; torch has no such kernel for `rmsnorm` on
    CPUs."""
    qk_norm: bool = True
    """Normalise queries and keys, which keeps attention stable at high learning rates."""
    attention_convolution: bool = False
    """Add to each self-attention a depthwise convolution of its input over the eight patches around each patch, which
    starts at zero: neighbours share details without attention (CSWin, Dong et al. 2022, has one of the values). It
    needs all patches, and so `routed_share: 0`."""
    mlp: Literal["swiglu", "gelu"] = "swiglu"
    """The MLP of a block: gated (Shazeer 2020) or plain."""
    positions: Literal["rope", "sincos", "rope_sincos"] = "rope_sincos"
    """Position encoding: rotations of queries and keys (`rope`), a code added to the input (`sincos`), or both."""
    modulation: Literal["adaln_single", "adaln_zero"] = "adaln_single"
    """Conditioning on the timestep: one projection for all blocks plus a table per block, or one projection per block.
    """
    zero_outputs: bool = False
    """Start the last layer of both attentions and of the MLP at zero, so that each block first passes its input on."""
    pooled_text: bool = True
    """Add the pooled vector of the caption to the timestep's, so that it reaches every patch directly."""
    scalars: tuple[Annotated[str, bounds(pattern=r"^[^=\s]+$")], ...] = ()
    """Named numbers of each sample that the model is conditioned on: columns of the data's table such as
    `aesthetic_score`, or `original_height`, `original_width`, `crop_top` and `crop_left`, which every image has."""
    null_condition: Annotated[Literal["learned", "encoded"], acts_unless("training.caption_dropout", 0.0)] = "learned"
    """Condition of a dropped caption: learned vectors, or the text encoder's states of the empty caption."""
    second_time: bool = False
    """Take a second timestep from objectives that give one, such as the end of a step of a mean flow; without one it is
    the timestep itself. Initially it changes no prediction."""
    routed_share: Annotated[float, bounds(ge=0, lt=1)] = 0.0
    """Share of the patches of each image that skips the blocks of `routed_blocks` in training, drawn anew for each
    (TREAD, Krause et al. 2025): a step takes less time. Sampling and validation use all patches in all blocks."""
    routed_blocks: Annotated[tuple[NonNegativeInt, NonNegativeInt] | None, acts_unless("routed_share", 0.0)] = None
    """The first and the last block that these patches skip, counted from 0. null leaves the first two blocks and the
    last seventh of all blocks to all patches."""
    gradient_checkpointing: Annotated[Literal[False, True, "attention", 2, 3, 4], Operational] = False
    """Compute blocks again in the backward pass instead of keeping their states. `true` does it for each block: much
    less memory, a third slower. 2, 3 and 4 do it for every second, third and fourth block, `attention` for the
    attention of each block: between the two in memory and time."""


def routed_range(options: Dit) -> range:
    """Return the numbers of the blocks that a share of the patches skips in training; empty without routing."""
    if options.routed_share == 0:
        return range(0)
    count = options.num_layers
    first, last = options.routed_blocks or (min(2, count // 3), count - 1 - max(1, count // 7))
    return range(first, last + 1)


def mlp_width(options: Dit) -> int:
    """Return the hidden width of a block's MLP; that of a gated one is rounded to a multiple of 8."""
    width = options.mlp_ratio * options.hidden_size
    return round(width) if options.mlp == "gelu" else max(8, 8 * round(width * 2 / 3 / 8))
