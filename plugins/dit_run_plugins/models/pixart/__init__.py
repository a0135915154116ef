"""pixart: diffusers' PixArtTransformer2DModel, from scratch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dit_run.options import Operational, PositiveInt, bounds

__all__ = ["Pixart"]


@dataclass(frozen=True, kw_only=True)
class Pixart:
    """PixArt-alpha's transformer as diffusers has it (Chen et al. 2024).

    LayerNorm, a plain MLP of four times the width, sine and cosine positions, adaLN-single. Weights begin as diffusers
    makes them.
    """

    hidden_size: Annotated[int, bounds(ge=4, multiple_of=4)] = 768
    """Width of a patch's state, a multiple of 4 for its positions."""
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
    dropout: Annotated[float, bounds(ge=0, lt=1)] = 0.0
    """Dropout rate of what attention and MLP add to the patches, in training."""
    sample_size: PositiveInt = 32
    """Side in latent pixels whose positions are counted 0, 1, 2, …; other sizes are stretched to the same range."""
    gradient_checkpointing: Annotated[bool, Operational] = False
    """Compute each block again in the backward pass instead of keeping its states: less memory, a third slower."""
