"""The network of the words encoder: hashed word embeddings and a small bidirectional transformer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dit_run.protocols import Tokens
from dit_run_plugins.models.dit.attention import SelfAttention
from dit_run_plugins.models.dit.layers import Mlp, make_norm
from dit_run_plugins.text_encoders.words import Words
from dit_run_plugins.text_encoders.words.tokenizer import PADDING, token_ids

__all__ = ["WordsTextEncoder", "build"]

NORM = "layernorm"


def build(options: Words) -> WordsTextEncoder:
    """Return the encoder with initial weights."""
    return WordsTextEncoder(options)


class WordsTextEncoder(nn.Module):
    """Encodes captions to token states; the pooled vector is the start marker's state, which attends to all words."""

    trainable = True

    def __init__(self, options: Words) -> None:
        super().__init__()
        self.options = options
        self.width = self.pooled_width = options.width
        self.max_length = options.max_length
        self.first = nn.Embedding(options.buckets, options.width)
        self.second = nn.Embedding(options.buckets, options.width)
        self.places = nn.Embedding(options.max_length, options.width)
        self.blocks = nn.ModuleList(WordsBlock(options.width, options.num_heads) for _ in range(options.num_layers))
        self.norm = make_norm(NORM, options.width, affine=True)
        self._initialise()

    def tokenize(self, captions: Sequence[str]) -> Tokens:
        """Return ids padded to the longest caption."""
        rows = [token_ids(caption, self.max_length) for caption in captions]
        length = max((len(ids) for ids, _ in rows), default=1)
        padded = [ids + [PADDING] * (length - len(ids)) for ids, _ in rows]
        ids = torch.tensor(padded, dtype=torch.int64).view(len(rows), length)
        return Tokens(ids, ids != PADDING, sum(cut for _, cut in rows))

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return token states [n, l, width] and pooled vectors [n, width] for ids and mask [n, l]."""
        rows, others = ids % self.options.buckets, ids // self.options.buckets % self.options.buckets
        x = self.first(rows) + self.second(others) + self.places.weight[: ids.shape[1]]
        seen = mask[:, None, None]
        for block in self.blocks:
            x = block(x, seen)
        x = self.norm(x)
        return x, x[:, 0]

    def fingerprint(self) -> str:
        """Return a digest of options and weights."""
        digest = hashlib.blake2b(repr(self.options).encode(), digest_size=16)
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _initialise(self) -> None:
        for table in (self.first, self.second, self.places):
            nn.init.normal_(table.weight, std=0.5)


class WordsBlock(nn.Module):
    """Self-attention between words, then an MLP, each after a norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_norm = make_norm(NORM, width, affine=True)
        self.self_attention = SelfAttention(width, heads, qk_norm=NORM)
        self.mlp_norm = make_norm(NORM, width, affine=True)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the next states for ``x`` [n, l, width] and ``mask``, bool [n, 1, 1, l]."""
        x = x + self.self_attention(self.self_norm(x), None, mask)
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out
