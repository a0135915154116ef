"""Stand-ins for the kernels of a GPU, by what they keep in memory: a CPU does the same work in other parts.

Fake tensors of a CPU pass through them; no number is computed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["device_kernels"]


@contextlib.contextmanager
def device_kernels() -> Iterator[None]:
    """Make attention, RMSNorm and dropout one operation each, as on a GPU, also where a checkpoint repeats them.

    The functions of torch.nn.functional are replaced: a TorchFunctionMode is not active in a backward pass.
    """
    before = {name: getattr(F, name) for name in _STAND_INS}
    try:
        for name, stand_in in _STAND_INS.items():
            setattr(F, name, stand_in)
        yield
    finally:
        for name, function in before.items():
            setattr(F, name, function)


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *args: Any, **options: Any
) -> Tensor:
    """Keep queries, keys, values, output and a sum for each row, and a mask of the size of one head."""
    if torch.is_autocast_enabled("cpu"):
        query, key, value = (part.to(torch.get_autocast_dtype("cpu")) for part in (query, key, value))
    mask = None if attn_mask is None else torch.zeros_like(attn_mask, dtype=query.dtype)
    out: Tensor = _Attention.apply(query, key, value, mask)  # type: ignore[no-untyped-call]
    return out


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        out = torch.empty_like(query)
        sums = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, mask, out, sums)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *_ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), None


def _rms_norm(x: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    out: Tensor = _RmsNorm.apply(x, weight)  # type: ignore[no-untyped-call]
    return out


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight, x.new_empty(x.shape[:-1], dtype=torch.float32))
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, _ = ctx.saved_tensors
        return torch.empty_like(x), None if weight is None else torch.empty_like(weight)


def _dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Keep a byte for each number."""
    if not training or p == 0:
        return x
    out: Tensor = torch.native_dropout(x, p, True)[0]
    return out


_STAND_INS: Mapping[str, Callable[..., Tensor]] = {
    "scaled_dot_product_attention": _attention,
    "rms_norm": _rms_norm,
    "dropout": _dropout,
}
