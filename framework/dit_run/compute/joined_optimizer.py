"""Several optimizers, each with its own parameters, that step as a single optimizer of torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch

__all__ = ["JoinedOptimizer"]


class JoinedOptimizer(torch.optim.Optimizer):
    """Steps its optimizers one after another. Subclasses say how states are kept.

    It divides gradients and skips an update on the device, by ``grad_scale`` and ``found_inf``, if all of them can, as
    torch's fused optimizers do.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        super().__init__([group for optimizer in optimizers for group in optimizer.param_groups], {})
        self._optimizers = list(optimizers)
        self._step_supports_amp_scaling = all(
            getattr(optimizer, "_step_supports_amp_scaling", False) for optimizer in optimizers
        )

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self._optimizers:
            with self._handing_on(optimizer):
                optimizer.step()
        return loss

    @contextlib.contextmanager
    def _handing_on(self, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        """Give an inner optimizer the divisor and the flag of this step, where there are any."""
        given = {name: getattr(self, name) for name in ("grad_scale", "found_inf") if hasattr(self, name)}
        for name, value in given.items():
            setattr(optimizer, name, value)
        try:
            yield
        finally:
            for name in given:
                delattr(optimizer, name)
