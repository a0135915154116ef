"""dit: a diffusion transformer conditioned on the timestep and on text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from dit_run.options import Operational, PositiveFloat, PositiveInt, bounds

__all__ = ["Dit", "mlp_width"]


@dataclass(frozen=True, kw_only=True)
class Dit:
    """Diffusion transformer (Peebles and Xie 2023) with cross-attention to text (Chen et al. 2024)."""

    hidden_size: PositiveInt = 768
    """Width of a patch's state."""
    num_layers: PositiveInt = 16
    """Transformer blocks."""
    num_heads: PositiveInt = 12
    """Attention heads; must divide hidden_size."""
    patch_size: PositiveInt = 2
    """Side of a patch in latent pixels."""
    in_channels: PositiveInt = 4
    """Latent channels that go in: the VAE's."""
    out_channels: PositiveInt = 4
    """Latent channels that come out: as many."""
    attention_head_dim: PositiveInt | None = None
    """Width of a head; where it is written it must be hidden_size / num_heads, which null stands for."""
    mlp_ratio: PositiveFloat = 4.0
    """Width of a block's MLP over hidden_size. With `mlp: swiglu`, which has three matrices instead of two, two thirds
    of it, so that the number of parameters is that of a plain MLP of this ratio."""
    dropout: Annotated[float, bounds(ge=0, lt=1)] = 0.1
    """Dropout rate of what attention and MLP add to the patches, in training."""
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    """Normalisation. `layernorm` is one fused operation where torch has no such kernel for `rmsnorm`, as on CPUs."""
    qk_norm: bool = True
    """Normalise queries and keys, so that attention stays stable at high learning rates."""
    mlp: Literal["swiglu", "gelu"] = "swiglu"
    """The MLP: gated (Shazeer 2020) or plain."""
    positions: Literal["rope", "sincos", "rope_sincos"] = "rope_sincos"
    """How a patch knows its place: rotations of queries and keys, a code added at the input, or both."""
    modulation: Literal["adaln_single", "adaln_zero"] = "adaln_single"
    """How the timestep reaches the blocks: one projection shared by all with a table in each, or one in each."""
    pooled_text: bool = True
    """Add the caption's pooled vector to the timestep's, so that it reaches every patch at once."""
    null_condition: Literal["learned", "encoded"] = "learned"
    """What stands for a dropped caption: vectors of the model's own, or the text encoder's empty caption."""
    gradient_checkpointing: Annotated[bool, Operational] = False
    """Compute each block again in the backward pass instead of keeping its states: less memory, a third slower."""


def mlp_width(options: Dit) -> int:
    """Hidden width of a block's MLP; a gated one is rounded to a multiple of 8."""
    width = options.mlp_ratio * options.hidden_size
    return round(width) if options.mlp == "gelu" else max(8, 8 * round(width * 2 / 3 / 8))
