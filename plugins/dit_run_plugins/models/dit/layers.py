"""Layers: normalisation, multilayer perceptrons and modulation."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dit_run.compute.devices import fuses_rms_norm, keeps_gelu_whole, weight_gradient_parts

__all__ = ["Linear", "Mlp", "SwiGlu", "add_scaled", "gelu", "make_mlp", "make_norm", "modulate"]

EPSILON = 1e-6


def make_norm(kind: str, width: int, *, affine: bool) -> nn.Module:
    """RMSNorm (Zhang and Sennrich 2019) or LayerNorm over the last dimension; ``affine`` gives it a scale."""
    if kind == "rmsnorm":
        return RmsNorm(width, affine=affine)
    return FusedLayerNorm(width, affine=affine)


class RmsNorm(nn.Module):
    """x / sqrt(mean(x²) + ε) in the dtype of ``x``: torch's kernel accumulates in fp32, and so does ours."""

    def __init__(self, width: int, *, affine: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        if fuses_rms_norm(x.device):
            weight = None if self.weight is None else self.weight.to(x.dtype)
            with _as_it_comes(x):
                return F.rms_norm(x, x.shape[-1:], weight, EPSILON)
        normal: Tensor = _Normalised.apply(x)  # type: ignore[no-untyped-call]
        return normal if self.weight is None else normal * self.weight.to(x.dtype)


class _Normalised(torch.autograd.Function):
    """x / sqrt(mean(x²) + ε) of separate operations, with a backward pass of few: autograd's own takes several times as
    long."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        exact = torch.promote_types(x.dtype, torch.float32)
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact)
        scale = (norm.square() / x.shape[-1] + EPSILON).rsqrt()
        normal: Tensor = (x * scale).to(x.dtype)
        ctx.save_for_backward(normal, scale)
        return normal

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """scale · (g - n · mean(g · n)), n being the result."""
        normal, scale = ctx.saved_tensors
        along = (gradient * normal).mean(-1, keepdim=True)
        change: Tensor = torch.addcmul(gradient, normal, along, value=-1) * scale
        return change.to(gradient.dtype)


class FusedLayerNorm(nn.Module):
    """LayerNorm without a bias, in the dtype of ``x``: the kernel accumulates in fp32."""

    def __init__(self, width: int, *, affine: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.to(x.dtype)
        with _as_it_comes(x):
            return F.layer_norm(x, x.shape[-1:], weight, None, EPSILON)


def _as_it_comes(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """Without autocast, which on some devices would norm, and keep for the backward pass, a copy in fp32."""
    if x.is_meta:  # a device that autocast does not know
        return contextlib.nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (1 + scale) + shift, with [n, 1, d] shift and scale (Peebles and Xie 2023)."""
    return add_scaled(shift, x, 1 + scale)


def add_scaled(base: Tensor, x: Tensor, scale: Tensor) -> Tensor:
    """base + x · scale for [n, p, d] x, [n, 1, d] scale and either for ``base``."""
    result: Tensor = _AddScaled.apply(base, x, scale)  # type: ignore[no-untyped-call]
    return result


class _AddScaled(torch.autograd.Function):
    """torch.addcmul, whose own backward pass goes over large tensors twice as often."""

    @staticmethod
    def forward(ctx: Any, base: Tensor, x: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale)
        ctx.base_shape = base.shape
        return torch.addcmul(base, x, scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, scale = ctx.saved_tensors
        return gradient.sum_to_size(ctx.base_shape), gradient * scale, (gradient * x).sum_to_size(scale.shape)


class Linear(nn.Linear):
    """A linear layer without a bias: the modulations before it and the norms do its work, and on a CPU adding it costs
    as much as the product of a narrow layer. :func:`dit_run.compute.devices.weight_gradient_parts` says how its weight's
    gradient is computed."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__(width, out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kind, dtype = x.device.type, self.weight.dtype
        if not x.is_meta and torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
        if weight_gradient_parts(x.device, dtype, x[..., 0].numel(), self.weight.numel()) == 1:
            return super().forward(x)
        product: Tensor = _Product.apply(x.to(dtype), self.weight.to(dtype))  # type: ignore[no-untyped-call]
        return product


class _Product(torch.autograd.Function):
    """x wᵀ, with the gradient of ``w`` in parts."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        rows, states = gradient.flatten(0, -2), x.flatten(0, -2)
        parts = weight_gradient_parts(x.device, x.dtype, len(rows), weight.numel())
        first, *rest = zip(rows.chunk(parts), states.chunk(parts), strict=True)
        change = first[0].t() @ first[1]
        for part, state in rest:
            change.addmm_(part.t(), state)
        return (rows @ weight).view(x.shape), change


class Mlp(nn.Module):
    """Two layers with GELU between."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.up = Linear(width, inner)
        self.down = Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(gelu(self.up(x)))
        return out


def gelu(x: Tensor) -> Tensor:
    """x · Φ(x), with the distribution function of the normal distribution (Hendrycks and Gimpel 2016)."""
    if torch.compiler.is_compiling() and keeps_gelu_whole(x.device):
        whole: Tensor = _gelu(x)
        return whole
    return F.gelu(x)


@torch.library.custom_op("dit_run::gelu", mutates_args=())
def _gelu(x: Tensor) -> Tensor:
    return F.gelu(x)


@torch.library.custom_op("dit_run::gelu_backward", mutates_args=())
def _gelu_backward(gradient: Tensor, x: Tensor) -> Tensor:
    change: Tensor = torch.ops.aten.gelu_backward(gradient, x)
    return change


_gelu.register_fake(torch.empty_like)
_gelu_backward.register_fake(lambda gradient, x: torch.empty_like(x))
_gelu.register_autograd(
    lambda ctx, gradient: _gelu_backward(gradient, *ctx.saved_tensors),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)


class SwiGlu(nn.Module):
    """down(silu(gate x) · up x) (Shazeer 2020), gate and up in one product."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_up = Linear(width, 2 * inner)
        self.down = Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(_Gate.apply(*self.gate_up(x).chunk(2, dim=-1)))  # type: ignore[no-untyped-call]
        return out


class _Gate(torch.autograd.Function):
    """silu(gate) · up. The first factor is computed again for the backward pass, where keeping it would be a fifth of
    what a block keeps of this layer."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate) * up

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        change: Tensor = torch.ops.aten.silu_backward(gradient * up, gate)
        return change, gradient * F.silu(gate)


def make_mlp(kind: str, width: int, inner: int) -> nn.Module:
    """The MLP of this kind, ``width`` to ``width`` through ``inner``."""
    return SwiGlu(width, inner) if kind == "swiglu" else Mlp(width, inner)
