"""A text encoder: a vector for each byte of a caption, trained with the model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dit_run import Component, Kind, hookimpl
from dit_run.options import PositiveInt
from dit_run.protocols import TextEncoder, Tokens

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Example:
    """A vector for each byte of a caption, trained with the model."""

    width: PositiveInt = 64
    """Size of a token's vector."""
    max_length: PositiveInt = 128
    """Maximum number of tokens per caption: a start marker, and one token per byte of UTF-8."""


def build(options: Example) -> TextEncoder:
    """Return a torch module. Its class is defined here, so that importing this file does not import torch."""
    import torch
    from torch import nn

    class ExampleEncoder(nn.Module):
        trainable = True  # False: the encoder is frozen, and its states may be cached
        width = pooled_width = options.width
        max_length = options.max_length

        def __init__(self) -> None:
            super().__init__()
            self.characters = nn.Embedding(258, options.width)  # 0 padding, 1 start marker, 2 + byte
            self.positions = nn.Embedding(options.max_length, options.width)

        def tokenize(self, captions: Sequence[str]) -> Tokens:
            # returns ids, int64 [n, l], a mask of real tokens, bool [n, l], and the number of captions that were cut
            rows = [[1, *(2 + byte for byte in caption.encode())] for caption in captions]
            longest = min(max(map(len, rows)), options.max_length)
            ids = torch.tensor([(row + [0] * longest)[:longest] for row in rows])
            return Tokens(ids, ids > 0, sum(len(row) > options.max_length for row in rows))

        def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
            # returns token states [n, l, width] and pooled vectors [n, pooled_width]
            states = self.characters(ids) + self.positions.weight[: ids.shape[1]]
            weights = mask[..., None].to(states)
            return states, (states * weights).sum(1) / weights.sum(1)

        def fingerprint(self) -> str:
            return hashlib.sha256(f"example {options}".encode()).hexdigest()

        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return build, (options,)  # workers only tokenize, which needs no weights

    return ExampleEncoder()


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.TEXT_ENCODER, "example", Example, build)]
