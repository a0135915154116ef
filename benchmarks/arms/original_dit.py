"""original_dit: the transformer of the original recipe, a plugin file next to the configs that name it.

Timestep and caption are one vector, which is added to the normalised input of each attention and each MLP: no
modulation, no cross-attention. LayerNorm, GELU, sine and cosine positions. Its output is zero at first, as ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from dit_run import Component, Kind, hookimpl
from dit_run.options import PositiveFloat, PositiveInt, Probability
from dit_run.protocols import TextStates
from dit_run_plugins.models.dit.positions import sincos, timestep_code

CODE_WIDTH = 256


@dataclass(frozen=True, kw_only=True)
class OriginalDit:
    """A diffusion transformer whose condition is added to the normalised inputs."""

    hidden_size: PositiveInt = 768
    """Width of a patch's state."""
    num_layers: PositiveInt = 16
    """Transformer blocks."""
    num_heads: PositiveInt = 12
    """Attention heads; must divide hidden_size."""
    patch_size: PositiveInt = 2
    """Side of a patch in latent pixels."""
    mlp_ratio: PositiveFloat = 4.0
    """Width of a block's MLP over hidden_size."""
    dropout: Probability = 0.0
    """Dropout rate of what attention and MLP add to the patches."""


class Block(nn.Module):
    """Self-attention and MLP, each on the normalised patches plus the condition."""

    def __init__(self, options: OriginalDit) -> None:
        super().__init__()
        width, inner = options.hidden_size, round(options.mlp_ratio * options.hidden_size)
        self.heads = options.num_heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """``x`` [n, patches, d], ``condition`` [n, 1, d]."""
        qkv = self.qkv(self.attention_norm(x) + condition).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + self.dropout(self.out(mixed))
        change: Tensor = self.dropout(self.down(F.gelu(self.up(self.mlp_norm(x) + condition))))
        return x + change


class Network(nn.Module):
    """Patches in, blocks, patches out."""

    def __init__(self, options: OriginalDit, channels: int, pooled_width: int) -> None:
        super().__init__()
        width, patch = options.hidden_size, channels * options.patch_size**2
        self.patch_size, self.width = options.patch_size, width
        self.input, self.output = nn.Linear(patch, width), nn.Linear(width, patch)
        self.time = nn.Sequential(nn.Linear(CODE_WIDTH, width), nn.SiLU(), nn.Linear(width, width))
        self.caption = nn.Linear(pooled_width, width)
        self.blocks = nn.ModuleList(Block(options) for _ in range(options.num_layers))
        self.norm = nn.LayerNorm(width)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, latents: Tensor, timesteps: Tensor, text: TextStates) -> Tensor:
        """Return the prediction [n, c, h, w] for noisy latents [n, c, h, w] at timesteps [n] in [0, 1000]."""
        rows, columns = (side // self.patch_size for side in latents.shape[-2:])
        x = self.input(F.pixel_unshuffle(latents, self.patch_size).flatten(2).transpose(1, 2))
        x = x + sincos(rows, columns, self.width, x.device).to(x.dtype)
        condition = (self.time(timestep_code(timesteps, CODE_WIDTH)) + self.caption(text.pooled))[:, None]
        for block in self.blocks:
            x = block(x, condition.to(x.dtype))
        grid = self.output(self.norm(x)).transpose(1, 2).reshape(len(x), -1, rows, columns)
        return F.pixel_shuffle(grid, self.patch_size)


def build(options: OriginalDit, *, latent_channels: int, pooled_width: int) -> Network:
    """Return the model for these latents and captions."""
    return Network(options, latent_channels, pooled_width)


@hookimpl
def dit_run_components() -> Iterable[Component]:
    return [Component(Kind.MODEL, "original_dit", OriginalDit, build)]
