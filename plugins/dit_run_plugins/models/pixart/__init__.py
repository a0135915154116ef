"""pixart: diffusers' PixArtTransformer2DModel, from scratch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dit_run.options import Operational, PositiveInt, bounds

__all__ = ["Pixart"]


@dataclass(frozen=True, kw_only=True)
class Pixart:
    """PixArt-alpha's transformer of diffusers (Chen et al. 2024).

    LayerNorm, a plain MLP of four times the width, sine and cosine positions, adaLN-single. Weights are initialised as
    in diffusers.
    """

    hidden_size: Annotated[int, bounds(ge=4, multiple_of=4)] = 768
    """Width of a patch's state, a multiple of 4 because of its positions."""
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
    dropout: Annotated[float, bounds(ge=0, lt=1)] = 0.0
    """Dropout rate in training on the outputs of attention and MLP."""
    sample_size: PositiveInt = 32
    """Side in latent pixels for which positions count 0, 1, 2, …; other sizes are scaled to the same range."""
    gradient_checkpointing: Annotated[bool, Operational] = False
    """Compute each block again in the backward pass instead of keeping its states: much less memory, a third slower."""
