"""A model: a few convolutions, conditioned on the timestep and the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dit_run import Component, Kind, hookimpl
from dit_run.options import PositiveInt
from dit_run.protocols import Model, TextStates

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Example:
    """A few convolutions, conditioned on the timestep and the text."""

    width: PositiveInt = 64
    """Channels of the hidden layers."""
    num_layers: PositiveInt = 4
    """Number of convolutions between the first and the last."""


def build(options: Example, *, latent_channels: int, text_width: int, pooled_width: int) -> Model:
    """Return a torch module. Its class is defined here, so that importing this file does not import torch."""
    import torch
    from torch import nn

    class ExampleModel(nn.Module):
        patch_size = 1  # height and width of latents must be multiples of this

        def __init__(self) -> None:
            super().__init__()
            width = options.width
            self.input = nn.Conv2d(latent_channels, width, 3, padding=1)
            self.blocks = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(options.num_layers))
            self.output = nn.Conv2d(width, latent_channels, 3, padding=1)
            self.time = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width))
            self.words = nn.Linear(text_width, width)
            self.caption = nn.Linear(pooled_width, width)

        def forward(self, latents: Tensor, timesteps: Tensor, text: TextStates) -> Tensor:
            # latents [n, c, h, w]; timesteps [n] in [0, 1000]; text.tokens [n, l, text_width], text.mask [n, l],
            # text.pooled [n, pooled_width]; returns the prediction [n, c, h, w]
            weights = text.mask[..., None].to(text.tokens)
            mean = (text.tokens * weights).sum(1) / weights.sum(1).clamp(min=1)
            condition = self.time(timesteps[:, None] / 1000) + self.words(mean) + self.caption(text.pooled)
            states = self.input(latents)
            for block in self.blocks:
                states = states + block(torch.nn.functional.silu(states + condition[:, :, None, None]))
            output: Tensor = self.output(states)
            return output

    return ExampleModel()


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.MODEL, "example", Example, build)]
