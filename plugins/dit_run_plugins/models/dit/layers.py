"""Layers: normalisation, multilayer perceptrons and modulation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Mlp", "SwiGlu", "make_mlp", "make_norm", "modulate"]

EPSILON = 1e-6


def make_norm(kind: str, width: int, *, affine: bool) -> nn.Module:
    """RMSNorm (Zhang and Sennrich 2019) or LayerNorm over the last dimension; ``affine`` gives it a scale."""
    if kind == "rmsnorm":
        return RmsNorm(width, affine=affine)
    return FusedLayerNorm(width, affine=affine)


class RmsNorm(nn.Module):
    """x / sqrt(mean(x²) + ε), computed in fp32 and returned in the dtype of ``x``."""

    def __init__(self, width: int, *, affine: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), x.shape[-1:], self.weight, EPSILON).to(x.dtype)


class FusedLayerNorm(nn.Module):
    """LayerNorm without a bias, in the dtype of ``x``: the kernel accumulates in fp32."""

    def __init__(self, width: int, *, affine: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.to(x.dtype)
        if x.is_meta:  # a device that autocast does not know
            return F.layer_norm(x, x.shape[-1:], weight, None, EPSILON)
        with torch.autocast(x.device.type, enabled=False):
            return F.layer_norm(x, x.shape[-1:], weight, None, EPSILON)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (1 + scale) + shift, with [n, 1, d] shift and scale (Peebles and Xie 2023)."""
    return torch.addcmul(shift, x, 1 + scale)


class Mlp(nn.Module):
    """Two layers with GELU between, without biases as those of attention."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(F.gelu(self.up(x)))
        return out


class SwiGlu(nn.Module):
    """down(silu(gate x) · up x) (Shazeer 2020), gate and up in one product."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        out: Tensor = self.down(F.silu(gate) * up)
        return out


def make_mlp(kind: str, width: int, inner: int) -> nn.Module:
    """The MLP of this kind, ``width`` to ``width`` through ``inner``."""
    return SwiGlu(width, inner) if kind == "swiglu" else Mlp(width, inner)
