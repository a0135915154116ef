"""The networks of the original TAESD files: plain sequences of convolutions and residual blocks.

Networks for 4, 16 and 32 latent channels differ only in their channels and, for 32 (taef2), in a gated norm in the
blocks at the coarsest resolution, which diffusers does not have; the weights tell which network they belong to.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

__all__ = ["OriginalDecoder", "OriginalEncoder", "TaesdBlock"]

_WIDTH = 64


class Clamp(nn.Module):
    """Limits latents smoothly to (-3, 3), the range on which the decoder was trained."""

    def forward(self, latents: Tensor) -> Tensor:
        return (latents / 3).tanh() * 3


class TaesdBlock(nn.Module):
    """Three convolutions with a residual connection; ``pooled`` blocks first add a normalised mixture of channels."""

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
    return [TaesdBlock(pooled) for _ in range(count)]


class OriginalEncoder(nn.Sequential):
    """An encoder of the shape that these weights have, for images [n, 3, H, W] in [-1, 1]."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(
            *(_conv(3), *_blocks(1)),
            *(_conv(stride=2, bias=False), *_blocks(3)),
            *(_conv(stride=2, bias=False), *_blocks(3)),
            *(_conv(stride=2, bias=False), *_blocks(3, _is_pooled(tensors))),
            _conv(_WIDTH, tensors["14.weight"].shape[0]),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return latents; the layers take images in [0, 1]."""
        hidden = (images + 1) / 2
        for layer in self:
            hidden = layer(hidden)
        return hidden


class OriginalDecoder(nn.Sequential):
    """A decoder of the shape that these weights have, for images [n, 3, H, W] around [-1, 1]."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(
            *(Clamp(), _conv(tensors["1.weight"].shape[1]), nn.ReLU()),
            *(*_blocks(3, _is_pooled(tensors)), nn.Upsample(scale_factor=2), _conv(bias=False)),
            *(*_blocks(3), nn.Upsample(scale_factor=2), _conv(bias=False)),
            *(*_blocks(3), nn.Upsample(scale_factor=2), _conv(bias=False)),
            *(*_blocks(1), _conv(_WIDTH, 3)),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Return images; the layers return images in [0, 1]."""
        hidden = latents
        for layer in self:
            hidden = layer(hidden)
        return hidden * 2 - 1


def _is_pooled(tensors: Mapping[str, Tensor]) -> bool:
    return any(".pool." in name for name in tensors)
