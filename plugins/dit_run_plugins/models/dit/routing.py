"""Token routing: in training a share of the patches skips a range of blocks (TREAD, Krause et al. 2025)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Route", "Turn"]

Turn = tuple[Tensor, Tensor]
"""Rotations of positions: see :func:`dit_run_plugins.models.dit.positions.rotate`."""


@dataclass(frozen=True)
class Route:
    """The patches of each sample that pass through all blocks, in their order."""

    kept: Tensor
    """int64 [n, k], indices of patches, ascending."""

    @classmethod
    def drawn(cls, count: int, patches: int, share: float, device: torch.device) -> Route:
        """Return a route past which ``share`` of the patches of each sample is drawn, at least one being kept.

        The numbers come from torch's own generator, as those of dropout do.
        """
        left = max(1, round(patches * (1 - share)))
        order = torch.rand(count, patches, device=device).argsort(dim=1)
        return cls(order[:, :left].sort(dim=1).values)

    def enter(self, x: Tensor) -> Tensor:
        """Return the states of the kept patches, [n, k, d], of all states [n, patches, d]."""
        return x.gather(1, self._places(x))

    def leave(self, whole: Tensor, x: Tensor) -> Tensor:
        """Return all states, those that were kept replaced by ``x`` [n, k, d]."""
        return whole.scatter(1, self._places(x), x)

    def turned(self, turn: Turn | None) -> Turn | None:
        """Return the rotations of the kept patches, [n, 1, k, head width] each."""
        return None if turn is None else (turn[0][self.kept][:, None], turn[1][self.kept][:, None])

    def _places(self, x: Tensor) -> Tensor:
        return self.kept[..., None].expand(-1, -1, x.shape[-1])
