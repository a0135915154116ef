"""Frozen networks whose weights are read when they are first needed: with a warm cache, never."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["LazyNetwork"]


class LazyNetwork(nn.Module):
    """Stands for a frozen network; makes it at the first call, on the device and in the dtype it was moved to.

    Always in eval mode and without gradients of its parameters; making it draws from no generator that others use.
    Inputs of floating point take its dtype.
    """

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self._make = make
        self.network: nn.Module | None = None
        self._place: Tensor
        self.register_buffer("_place", torch.empty(0), persistent=False)

    @property
    def loaded(self) -> bool:
        return self.network is not None

    def release(self) -> None:
        """Give its memory back; the next call reads the weights again."""
        self.network = None

    def train(self, mode: bool = True) -> LazyNetwork:
        return super().train(False)

    def forward(self, *inputs: Tensor, **settings: Any) -> Any:
        if self.network is None:
            with torch.random.fork_rng(devices=[]):
                network = self._make().requires_grad_(False).eval()
            self.network = network.to(device=self._place.device, dtype=self._place.dtype)
        return self.network(*(self._fit(value) for value in inputs), **settings)

    def _fit(self, value: Tensor) -> Tensor:
        return value.to(self._place.dtype) if value.is_floating_point() else value
