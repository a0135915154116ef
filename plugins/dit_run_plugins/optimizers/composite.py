"""Several optimizers, each with its own parameters, as a single torch optimizer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

__all__ = ["CompositeOptimizer"]


class CompositeOptimizer(torch.optim.Optimizer):
    """Steps its optimizers one after another; they share this optimizer's param groups and state by reference.

    With ``on_device`` all of them can divide gradients and skip an update on the device, by ``grad_scale`` and
    ``found_inf``, as torch's fused optimizers do.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer], *, on_device: bool = False) -> None:
        super().__init__([group for optimizer in optimizers for group in optimizer.param_groups], {})
        self._step_supports_amp_scaling = on_device
        self._optimizers = list(optimizers)
        self._sizes = [len(optimizer.param_groups) for optimizer in optimizers]
        self._share()

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

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state as torch does; the inner optimizers continue with it."""
        super().load_state_dict(state_dict)
        self._share()

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

    def _share(self) -> None:
        """Let the inner optimizers work on this optimizer's groups and state."""
        first = 0
        for optimizer, size in zip(self._optimizers, self._sizes, strict=True):
            optimizer.param_groups = self.param_groups[first : first + size]
            optimizer.state = self.state
            first += size
