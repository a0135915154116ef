"""A tensor in pieces: those of the files that several processes wrote, joined only by who needs the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["SplitTensor", "StoredTensor", "join", "rows_of"]


@dataclass(frozen=True)
class SplitTensor:
    """A tensor whose rows are those of its pieces, one after the other.

    The pieces may be views of mapped files, of which only the rows that are used are read.
    """

    pieces: Sequence[Tensor]
    """At least one; all have the same dtype and, but for the number of rows, the same shape."""

    @property
    def shape(self) -> torch.Size:
        return torch.Size((sum(len(piece) for piece in self.pieces), *self.pieces[0].shape[1:]))


StoredTensor = Tensor | SplitTensor
"""A tensor of a checkpoint."""


def join(tensor: StoredTensor) -> Tensor:
    """Return the whole tensor; one that is not in pieces is returned itself."""
    return torch.cat(list(tensor.pieces)) if isinstance(tensor, SplitTensor) else tensor


def rows_of(tensor: StoredTensor, first: int, count: int) -> Tensor:
    """Return a copy of ``count`` rows from the ``first`` one on, in memory of its own."""
    pieces = tensor.pieces if isinstance(tensor, SplitTensor) else (tensor,)
    found, start = [], 0
    for piece in pieces:
        found.append(piece[max(first - start, 0) : max(first + count - start, 0)])
        start += len(piece)
    return torch.cat(found)
