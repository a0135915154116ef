"""Layers: normalisation, multilayer perceptrons and modulation."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dit_run_plugins.models.dit.kernels import rms_norm

__all__ = [
    "LayerNorm",
    "Mlp",
    "PartNorm",
    "PatchConvolution",
    "RmsNorm",
    "SwiGlu",
    "make_mlp",
    "make_norm",
    "make_part_norm",
    "modulate",
]

EPSILON = 1e-6


def make_norm(kind: str, width: int, *, affine: bool) -> nn.Module:
    """Return RMSNorm or LayerNorm over the last dimension; ``affine`` adds a learned scale. Neither has a bias."""
    if kind == "rmsnorm":
        return RmsNorm(width, eps=EPSILON, elementwise_affine=affine)
    return LayerNorm(width, eps=EPSILON, elementwise_affine=affine, bias=False)


def make_part_norm(kind: str, widths: Sequence[int]) -> nn.Module:
    """Return a norm of each part of the last dimension, each with a learned scale; a plain norm for one part."""
    norms = [make_norm(kind, width, affine=True) for width in widths]
    return norms[0] if len(norms) == 1 else PartNorm(norms, widths)


class PartNorm(nn.Sequential):
    """Norms side by side: each takes its own columns of the last dimension."""

    def __init__(self, norms: Sequence[nn.Module], widths: Sequence[int]) -> None:
        super().__init__(*norms)
        self._widths = list(widths)

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(x, self._widths, dim=-1)
        return torch.cat([norm(part) for norm, part in zip(self, parts, strict=True)], dim=-1)


class RmsNorm(nn.RMSNorm):
    """x / sqrt(mean(x²) + ε) · weight (Zhang and Sennrich 2019), in the dtype of ``x``."""

    def forward(self, x: Tensor) -> Tensor:
        with _no_autocast(x):
            return rms_norm(x, _as(x, self.weight), EPSILON)


class LayerNorm(nn.LayerNorm):
    """(x - mean(x)) / sqrt(var(x) + ε) · weight (Ba et al. 2016), in the dtype of ``x``."""

    def forward(self, x: Tensor) -> Tensor:
        with _no_autocast(x):
            return F.layer_norm(x, self.normalized_shape, _as(x, self.weight), None, self.eps)


def _as(x: Tensor, weight: Tensor | None) -> Tensor | None:
    return None if weight is None else weight.to(x.dtype)


def _no_autocast(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """Turn autocast off for a norm.

    On CUDA, autocast would convert the input of a norm to fp32 and keep that copy for the backward pass: twice the
    memory. The kernels compute in fp32 inside, so the conversion would gain nothing.
    """
    if x.is_meta:  # Autocast does not know this device.
        return contextlib.nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Return x (1 + scale) + shift for x [n, patches, d], shift and scale [n, 1, d] (Peebles and Xie 2023)."""
    return x * (1 + scale) + shift


class PatchConvolution(nn.Conv2d):
    """Depthwise convolution of each patch with the eight around it; zeros lie around the grid."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, 3, padding=1, groups=width, bias=False)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:  # type: ignore[override]
        """Return [n, patches, d] for ``x`` [n, patches, d], whose patches have ``grid`` rows and columns."""
        # A view in the layout channels_last, of which torch makes no copy.
        maps = x.transpose(1, 2).view(x.shape[0], x.shape[2], *grid)
        return super().forward(maps).flatten(2).transpose(1, 2)


class Mlp(nn.Module):
    """Two linear layers with GELU between them (Hendrycks and Gimpel 2016)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(F.gelu(self.up(x)))
        return out


class SwiGlu(nn.Module):
    """down(silu(gate x) · up x) (Shazeer 2020), gate and up in one matrix."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        # Computed again in the backward pass: keeping silu(gate) as well takes 1.6 GB at the default size and batch 96.
        product = checkpoint(gated, gate, up, use_reentrant=False, preserve_rng_state=False)
        out: Tensor = self.down(product)
        return out


def gated(gate: Tensor, up: Tensor) -> Tensor:
    return F.silu(gate) * up


def make_mlp(kind: str, width: int, inner: int) -> Mlp | SwiGlu:
    """Return the MLP of this kind, from ``width`` through ``inner`` to ``width``."""
    return SwiGlu(width, inner) if kind == "swiglu" else Mlp(width, inner)
