"""Kernel choices of the dit: each is one function, with the measurement that justifies it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["attend", "attend_by_products", "attend_with_channel", "rms_norm"]

HAS_AMX = torch.cpu._is_amx_tile_supported()
"""True on CPUs with instructions that multiply bfloat16 matrices."""
HIDDEN = -30_000.0
"""Number in the additional channel of hidden keys: within the range of float16, and large enough after the division by
the root of a head's width."""
FUSE_RMS_NORM = tuple(
    kind
    for kind in ("cuda", "xpu")
    if torch._C._dispatch_has_kernel_for_dispatch_key("aten::_fused_rms_norm", kind.upper())
)
"""Kinds of devices on which this torch has one kernel for RMSNorm, forward and backward."""


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return softmax(q kᵀ / √d) v [n, heads, q, d] for [n, heads, q, d] and twice [n, heads, k, d].

    ``mask``, bool [n, 1, 1, k], is True for visible keys. On a CPU that multiplies bfloat16 matrices in hardware (AMX),
    separate products are several times as fast as torch's fused kernel, which takes no advantage of it; on other CPUs
    they are 40 times as slow. A tensor of another class, without numbers, may stand for one of another device.
    """
    if query.device.type == "cpu" and query.dtype is torch.bfloat16 and HAS_AMX and type(query) is Tensor:
        return attend_by_products(query, key, value, mask)
    if mask is not None and query.device.type == "cuda" and query.dtype in (torch.float16, torch.bfloat16):
        return attend_with_channel(query, key, value, mask)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def attend_with_channel(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Return the same as :func:`attend`, with the mask as one more channel of queries and keys.

    torch has flash attention only without a mask. The channel adds a number to the scores of hidden keys that makes
    their weight zero. It comes with seven empty ones, because kernels take widths that are multiples of eight.
    """
    width = query.shape[-1]
    hidden = torch.zeros_like(mask, dtype=key.dtype).masked_fill(~mask, HIDDEN).mT.expand(-1, key.shape[1], -1, -1)
    query, key = F.pad(F.pad(query, (0, 1), value=1.0), (0, 7)), F.pad(torch.cat([key, hidden], dim=-1), (0, 7))
    out = F.scaled_dot_product_attention(query, key, F.pad(value, (0, 8)), scale=width**-0.5)
    return out[..., :width]


def attend_by_products(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Return the same as :func:`attend`, from two products of matrices and a softmax."""
    n, heads, queries, width = query.shape
    flat = (n * heads, -1, width)
    products = query.reshape(flat), key.reshape(flat).transpose(1, 2)
    if mask is None:
        scores = torch.baddbmm(query.new_zeros(1), *products, beta=0, alpha=width**-0.5)
    else:
        hidden = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, float("-inf"))
        hidden = hidden.expand(n, heads, 1, -1).reshape(n * heads, 1, -1)
        scores = torch.baddbmm(hidden, *products, alpha=width**-0.5)
    return (F.softmax(scores, dim=-1, dtype=scores.dtype) @ value.reshape(flat)).view(n, heads, queries, width)


def rms_norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """Return x / sqrt(mean(x²) + eps) · weight over the last dimension, in the dtype of ``x``.

    torch has one kernel for it on some devices. On others it consists of separate operations, each of which keeps its
    output for the backward pass: 29 instead of 19 GiB for train_config.yaml. Those take :class:`RmsNormOnce`, except a
    CPU, where the separate operations are faster.
    """
    if x.device.type in ("cpu", "meta") or x.device.type in FUSE_RMS_NORM:
        return F.rms_norm(x, x.shape[-1:], weight, eps)
    out: Tensor = RmsNormOnce.apply(x, weight, eps)  # type: ignore[no-untyped-call]
    return out


class RmsNormOnce(torch.autograd.Function):
    """RMSNorm that keeps its input and one number for each row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, scale)
        normal = wide * scale
        return (normal if weight is None else normal * weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight, scale = ctx.saved_tensors
        gradient, normal = gradients[0].float(), x.float() * scale
        of_weight = None if weight is None else (gradient * normal).flatten(0, -2).sum(0).to(weight.dtype)
        inner = gradient if weight is None else gradient * weight
        of_x = scale * (inner - normal * (inner * normal).mean(-1, keepdim=True))
        return of_x.to(x.dtype), of_weight, None
