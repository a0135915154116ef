"""Optimizers of parameters with different learning rates, as a single optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

__all__ = ["RateGroups"]


class RateGroups(torch.optim.Optimizer):
    """One optimizer for each factor on the learning rate. Each keeps its own state and param groups.

    Any optimizer can take part, also one that allows a single learning rate for all its parameters.
    """

    def __init__(self, optimizers: Mapping[float, torch.optim.Optimizer]) -> None:
        """Take the optimizers by their factors; with modes, all of them have these."""
        super().__init__([group for optimizer in optimizers.values() for group in optimizer.param_groups], {})
        self._optimizers = dict(optimizers)
        self.train: Callable[[], None] | None = self._switch("train")
        self.eval: Callable[[], None] | None = self._switch("eval")
        self._share()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self._optimizers.values():
            optimizer.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the optimizers, with their factors."""
        return {str(factor): optimizer.state_dict() for factor, optimizer in self._optimizers.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned. Raises ValueError for other factors."""
        factors = [str(factor) for factor in self._optimizers]
        if list(state_dict) != factors:
            raise ValueError(f"it has no state for the learning rate factors {', '.join(factors)}")
        for optimizer, state in zip(self._optimizers.values(), state_dict.values(), strict=True):
            optimizer.load_state_dict(state)
        self._share()

    def _share(self) -> None:
        """Show the param groups of the optimizers, which a load replaces."""
        self.param_groups = [group for optimizer in self._optimizers.values() for group in optimizer.param_groups]

    def _switch(self, mode: str) -> Callable[[], None] | None:
        """Return a function that puts all optimizers into a mode; None for optimizers without modes."""
        optimizers: list[Any] = list(self._optimizers.values())
        if not all(callable(getattr(optimizer, mode, None)) for optimizer in optimizers):
            return None

        def switch_all() -> None:
            for optimizer in optimizers:
                getattr(optimizer, mode)()

        return switch_all
