"""pixart: diffusers' PixArtTransformer2DModel, from scratch or with pretrained weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dit_run.hub import on_hub
from dit_run.options import HubOrPath, Operational, PositiveFloat, PositiveInt, acts_if, bounds

__all__ = ["Pixart"]


@dataclass(frozen=True, kw_only=True)
class Pixart:
    """PixArt-alpha's and PixArt-Sigma's transformer of diffusers (Chen et al. 2024).

    LayerNorm, a plain MLP of four times the width, sine and cosine positions, adaLN-single. Weights are initialised as
    in diffusers, or pretrained.
    """

    pretrained_model_name: Annotated[str | None, HubOrPath] = None
    """Hub name or local folder whose weights the model begins with: a pipeline with a `transformer` subfolder, or that
    folder. The keys below then have the values of its config.json, apart from `dropout`. null begins with random
    weights."""
    revision: Annotated[str | None, Operational, acts_if("pretrained_model_name", on_hub)] = None
    """Branch, tag or commit on the hub; null uses the newest."""

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
    interpolation_scale: PositiveFloat = 1.0
    """Number by which positions are divided: 2 for weights of 1,024 pixels that began with those of 512."""
    micro_conditions: bool = False
    """Tell the model the size of an image in pixels and its aspect ratio, as PixArt-alpha of 1,024 pixels does; needs
    a hidden_size that 3 divides."""
    learned_sigma: bool = False
    """Give the output twice the channels, as published weights have it. The second half, a variance, is neither trained
    nor used."""
    gradient_checkpointing: Annotated[bool, Operational] = False
    """Compute each block again in the backward pass instead of keeping its states: much less memory, a third slower."""
