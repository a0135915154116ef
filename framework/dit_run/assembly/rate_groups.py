"""Optimizers of parameters with different learning rates, as a single optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from dit_run.compute.joined_optimizer import JoinedOptimizer

__all__ = ["RateGroups"]


class RateGroups(JoinedOptimizer):
    """Optimizers by their factors on the learning rate. Each keeps its own state and param groups.

    Any optimizer can take part, also one that allows a single learning rate for all its parameters.
    """

    def __init__(self, optimizers: Mapping[float, torch.optim.Optimizer]) -> None:
        """Take the optimizers by their factors; with modes, all of them have these."""
        super().__init__([*optimizers.values()])
        self._factors = [str(factor) for factor in optimizers]
        self.train: Callable[[], None] | None = self._switch("train")
        self.eval: Callable[[], None] | None = self._switch("eval")
        self._share()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the optimizers, with their factors."""
        states = (optimizer.state_dict() for optimizer in self._optimizers)
        return dict(zip(self._factors, states, strict=True))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned. Raises ValueError for other factors."""
        if list(state_dict) != self._factors:
            raise ValueError(f"it has no state for the learning rate factors {', '.join(self._factors)}")
        for optimizer, state in zip(self._optimizers, state_dict.values(), strict=True):
            optimizer.load_state_dict(state)
        self._share()

    def _share(self) -> None:
        """Show the param groups of the optimizers, which a load replaces."""
        self.param_groups = [group for optimizer in self._optimizers for group in optimizer.param_groups]

    def _switch(self, mode: str) -> Callable[[], None] | None:
        """Return a function that puts all optimizers into a mode; None for optimizers without modes."""
        optimizers: list[Any] = self._optimizers
        if not all(callable(getattr(optimizer, mode, None)) for optimizer in optimizers):
            return None

        def switch_all() -> None:
            for optimizer in optimizers:
                getattr(optimizer, mode)()

        return switch_all
