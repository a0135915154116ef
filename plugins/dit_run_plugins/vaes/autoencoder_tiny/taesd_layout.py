"""The networks of the original TAESD files: plain sequences of convolutions and residual blocks.

Those for 4 and 16 latent channels, and the ones with a gated norm in the blocks at the coarsest resolution (taef2,
32 latent channels), differ in nothing else; the weights tell which they are. Images are in [0, 1] here.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

__all__ = ["Clamp", "decoder", "encoder"]

_WIDTH = 64


class Clamp(nn.Module):
    """Squeezes latents softly into (-3, 3), the range on which the decoder was trained."""

    def forward(self, latents: Tensor) -> Tensor:
        return (latents / 3).tanh() * 3


class Block(nn.Module):
    """Three convolutions and a way around them; ``pooled`` blocks first add a normalised mixture of channels."""

    def __init__(self, pooled: bool) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(), nn.ReLU(), _conv(), nn.ReLU(), _conv())
        self.pool = _pool() if pooled else None
        self.fuse = nn.ReLU()

    def forward(self, hidden: Tensor) -> Tensor:
        if self.pool is not None:
            hidden = hidden + self.pool(hidden)
        output: Tensor = self.fuse(self.conv(hidden) + hidden)
        return output


def _conv(inputs: int = _WIDTH, outputs: int = _WIDTH, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, stride=stride, bias=bias)


def _pool() -> nn.Sequential:
    wide = 4 * _WIDTH
    return nn.Sequential(
        nn.Conv2d(_WIDTH, wide, 1, bias=False),
        nn.GroupNorm(4, wide),
        nn.ReLU(inplace=True),
        nn.Conv2d(wide, _WIDTH, 1, bias=False),
    )


def _blocks(count: int, pooled: bool = False) -> list[nn.Module]:
    return [Block(pooled) for _ in range(count)]


def encoder(tensors: Mapping[str, Tensor]) -> nn.Module:
    """An encoder of the shape that these weights have: images [n, 3, H, W] in [0, 1] to latents."""
    pooled = _is_pooled(tensors)
    channels = tensors["14.weight"].shape[0]
    return nn.Sequential(
        *(_conv(3), *_blocks(1)),
        *(_conv(stride=2, bias=False), *_blocks(3)),
        *(_conv(stride=2, bias=False), *_blocks(3)),
        *(_conv(stride=2, bias=False), *_blocks(3, pooled)),
        _conv(_WIDTH, channels),
    )


def decoder(tensors: Mapping[str, Tensor]) -> nn.Module:
    """A decoder of the shape that these weights have: latents to images [n, 3, H, W], about in [0, 1]."""
    channels = tensors["1.weight"].shape[1]
    return nn.Sequential(
        *(Clamp(), _conv(channels), nn.ReLU()),
        *(*_blocks(3, _is_pooled(tensors)), nn.Upsample(scale_factor=2), _conv(bias=False)),
        *(*_blocks(3), nn.Upsample(scale_factor=2), _conv(bias=False)),
        *(*_blocks(3), nn.Upsample(scale_factor=2), _conv(bias=False)),
        *(*_blocks(1), _conv(_WIDTH, 3)),
    )


def _is_pooled(tensors: Mapping[str, Tensor]) -> bool:
    return any(".pool." in name for name in tensors)
