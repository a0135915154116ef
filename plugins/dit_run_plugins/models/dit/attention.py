"""Attention among patches and from patches to text. How it is computed on which device is decided in :func:`attend`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dit_run.compute.devices import multiplies_attention
from dit_run_plugins.models.dit.layers import Linear, make_norm
from dit_run_plugins.models.dit.positions import rotate

__all__ = ["CrossAttention", "SelfAttention", "attend"]


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √d) v for [n, heads, q, d], [n, heads, k, d] twice; mask bool [n, 1, 1, k], True where to look.

    :func:`dit_run.compute.devices.multiplies_attention` says where it is three products; elsewhere torch's kernel.
    """
    if not multiplies_attention(query.device, query.dtype):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
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


class SelfAttention(nn.Module):
    """Patches look at one another; query, key and value come from one product."""

    def __init__(self, width: int, heads: int, *, qk_norm: str | None) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)
        self.query_norm, self.key_norm = qk_norms(qk_norm, width // heads)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor] | None, mask: Tensor | None = None) -> Tensor:
        """``x`` [n, patches, d], ``turn`` the patches' rotations, ``mask`` bool [n, 1, 1, patches]."""
        query, key, value = split_heads(self.qkv(x), 3, self.heads)
        query, key = self.query_norm(query), self.key_norm(key)
        if turn is not None:
            query, key = rotate(query, turn), rotate(key, turn)
        out: Tensor = self.out(join_heads(attend(query, key, value, mask)))
        return out


class CrossAttention(nn.Module):
    """Patches look at text tokens."""

    def __init__(self, width: int, heads: int, *, qk_norm: str | None) -> None:
        super().__init__()
        self.heads = heads
        self.query = Linear(width, width)
        self.key_value = Linear(width, 2 * width)
        self.out = Linear(width, width)
        self.query_norm, self.key_norm = qk_norms(qk_norm, width // heads)

    def forward(self, x: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """``x`` [n, patches, d], ``text`` [n, l, d], ``mask`` bool [n, 1, 1, l] with at least one True a row."""
        (query,) = split_heads(self.query(x), 1, self.heads)
        key, value = split_heads(self.key_value(text), 2, self.heads)
        out: Tensor = self.out(join_heads(attend(self.query_norm(query), self.key_norm(key), value, mask)))
        return out


def qk_norms(kind: str | None, head_width: int) -> tuple[nn.Module, nn.Module]:
    """Norms of queries and keys (Dehghani et al. 2023), with a scale each; nothing for ``None``."""
    if kind is None:
        return nn.Identity(), nn.Identity()
    return make_norm(kind, head_width, affine=True), make_norm(kind, head_width, affine=True)


def split_heads(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """[n, l, parts · d] to ``parts`` tensors [n, heads, l, d / heads]."""
    split: tuple[Tensor, ...] = _Split.apply(x, parts, heads)  # type: ignore[no-untyped-call]
    return split


class _Split(torch.autograd.Function):
    """Views of the parts; their gradients are written in one pass, where autograd's own stacks and then turns them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
        return _parts(x, parts, heads)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        n, heads, length, width = gradients[0].shape
        whole = gradients[0].new_empty(n, length, len(gradients) * heads * width)
        for part, gradient in zip(_parts(whole, len(gradients), heads), gradients, strict=True):
            part.copy_(gradient)
        return whole, None, None


def _parts(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    n, length, _ = x.shape
    return x.view(n, length, parts, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


def join_heads(x: Tensor) -> Tensor:
    """[n, heads, l, d / heads] to [n, l, d]."""
    return x.transpose(1, 2).flatten(2)
