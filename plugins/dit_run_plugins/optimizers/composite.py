"""Optimizers of one component, each with its own parameters, as a single optimizer with one state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dit_run.compute.joined_optimizer import JoinedOptimizer

__all__ = ["CompositeOptimizer"]


class CompositeOptimizer(JoinedOptimizer):
    """Optimizers that share this optimizer's param groups and state by reference."""

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        super().__init__(optimizers)
        self._sizes = [len(optimizer.param_groups) for optimizer in optimizers]
        self._share()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state as torch does; the inner optimizers continue with it."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        """Let the inner optimizers work on this optimizer's groups and state."""
        first = 0
        for optimizer, size in zip(self._optimizers, self._sizes, strict=True):
            optimizer.param_groups = self.param_groups[first : first + size]
            optimizer.state = self.state
            first += size
