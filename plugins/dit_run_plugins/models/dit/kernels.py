"""Kernel choices of the dit: each is one function, with the measurement that justifies it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["attend", "attend_by_products"]

HAS_AMX = torch.cpu._is_amx_tile_supported()
"""True on CPUs with instructions that multiply bfloat16 matrices."""


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return softmax(q kᵀ / √d) v [n, heads, q, d] for [n, heads, q, d] and twice [n, heads, k, d].

    ``mask``, bool [n, 1, 1, k], is True for visible keys. On a CPU that multiplies bfloat16 matrices in hardware (AMX),
    separate products are several times as fast as torch's fused kernel, which takes no advantage of it; on other CPUs
    they are 40 times as slow.
    """
    if query.device.type == "cpu" and query.dtype is torch.bfloat16 and HAS_AMX:
        return attend_by_products(query, key, value, mask)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


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
