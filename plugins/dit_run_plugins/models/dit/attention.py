"""Attention among patches, and from patches to text."""

from __future__ import annotations

from torch import Tensor, nn

from dit_run_plugins.models.dit.kernels import attend
from dit_run_plugins.models.dit.layers import make_norm
from dit_run_plugins.models.dit.positions import rotate

__all__ = ["CrossAttention", "SelfAttention"]


class SelfAttention(nn.Module):
    """Attention among patches; one matrix computes queries, keys and values."""

    def __init__(self, width: int, heads: int, *, qk_norm: str | None) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.query_norm, self.key_norm = qk_norms(qk_norm, width // heads)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor] | None, mask: Tensor | None = None) -> Tensor:
        """Return [n, patches, d] for ``x`` [n, patches, d].

        ``turn`` holds the rotations of the patches; ``mask``, bool [n, 1, 1, patches], is True for visible patches.
        """
        query, key, value = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        query, key = self.query_norm(query), self.key_norm(key)
        if turn is not None:
            query, key = rotate(query, turn), rotate(key, turn)
        out: Tensor = self.out(join_heads(attend(query, key, value, mask)))
        return out


class CrossAttention(nn.Module):
    """Attention from patches to text tokens; one matrix computes keys and values."""

    def __init__(self, width: int, heads: int, *, qk_norm: str | None) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.query_norm, self.key_norm = qk_norms(qk_norm, width // heads)

    def forward(self, x: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """Return [n, patches, d] for ``x`` [n, patches, d] and ``text`` [n, l, d].

        ``mask``, bool [n, 1, 1, l], is True for visible tokens, at least one in each row.
        """
        query = self.query_norm(split_heads(self.query(x), self.heads))
        key, value = (split_heads(part, self.heads) for part in self.key_value(text).chunk(2, dim=-1))
        out: Tensor = self.out(join_heads(attend(query, self.key_norm(key), value, mask)))
        return out


def qk_norms(kind: str | None, head_width: int) -> tuple[nn.Module, nn.Module]:
    """Return norms for queries and keys (Dehghani et al. 2023), each with a scale; identities for ``None``."""
    if kind is None:
        return nn.Identity(), nn.Identity()
    return make_norm(kind, head_width, affine=True), make_norm(kind, head_width, affine=True)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Return [n, heads, l, d / heads] for [n, l, d]."""
    n, length, width = x.shape
    return x.view(n, length, heads, width // heads).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """Return [n, l, d] for [n, heads, l, d / heads]."""
    return x.transpose(1, 2).flatten(2)
