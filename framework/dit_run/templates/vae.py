"""A VAE: blocks of pixels moved into channels, without loss."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dit_run import Component, Kind, hookimpl
from dit_run.options import PositiveInt
from dit_run.protocols import VAE

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Example:
    """Blocks of pixels moved into channels, without loss."""

    block: PositiveInt = 2
    """Side of a block in pixels; latents have 3 * block² channels."""


def build(options: Example) -> VAE:
    """Return a torch module. Its class is defined here, so that importing this file does not import torch."""
    from torch import nn
    from torch.nn.functional import pixel_shuffle, pixel_unshuffle

    class ExampleVae(nn.Module):
        latent_channels = 3 * options.block**2
        factor = options.block  # side of an image in pixels, divided by that of its latents
        cacheable = False  # True for a slow encoder: its latents are then computed once and cached

        def encode(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
            # images [n, 3, H, W] in [-1, 1]; returns mean and standard deviation, each [n, c, H / factor, W / factor];
            # None instead of a standard deviation means 0
            return pixel_unshuffle(images, options.block), None

        def decode(self, latents: Tensor) -> Tensor:
            # latents [n, c, h, w]; returns images [n, 3, h * factor, w * factor] in [-1, 1]
            return pixel_shuffle(latents, options.block).clamp(-1, 1)

        def fingerprint(self) -> str:
            return hashlib.sha256(f"example {options}".encode()).hexdigest()

    return ExampleVae()


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.VAE, "example", Example, build)]
