"""Copies of sharded modules that have all weights while a run is watched: a process evaluates them by itself."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from dit_run.compute.sharding import whole_tensor
from dit_run.model.denoiser import Denoiser

__all__ = ["WholeCopies"]


M = TypeVar("M", bound=nn.Module)


class WholeCopies:
    """A copy of each module that will be sharded. It has no weights, and no memory for them, until it is filled.

    Evaluating the sharded ones would need all processes at each call, and an error in one of them would leave them
    unfit for training. Build the copies before the modules are sharded or compiled.
    """

    def __init__(self, denoisers: Mapping[str, Denoiser], device: torch.device, encoders: Sequence[Any] = ()) -> None:
        self._sharded: list[nn.Module] = [*denoisers.values(), *encoders]
        self.copies = {name: _without_weights(denoiser).to(device).eval() for name, denoiser in denoisers.items()}
        """Copies of the denoisers, under the same names."""
        self.encoders: tuple[Any, ...] = tuple(_without_weights(encoder).to(device).eval() for encoder in encoders)
        """Copies of frozen text encoders, in the same order."""

    @contextlib.contextmanager
    @torch.no_grad()
    def filled(self) -> Iterator[None]:
        """Let the copies have the present weights and buffers; all processes call this."""
        copies: list[nn.Module] = [*self.copies.values(), *self.encoders]
        try:
            for target, sharded in zip(copies, self._sharded, strict=True):
                _fill(target, sharded)
            yield
        finally:
            for each in copies:
                for parameter in each.parameters():
                    parameter.data = parameter.data.new_empty(0)


def _without_weights(module: M) -> M:
    empty = {
        id(parameter): nn.Parameter(parameter.detach().new_empty(0), requires_grad=False)
        for parameter in module.parameters()
    }
    return copy.deepcopy(module, dict(empty))


def _fill(target: nn.Module, sharded: nn.Module) -> None:
    for parameter, part in zip(target.parameters(), sharded.parameters(), strict=True):
        parameter.data = whole_tensor(part.detach())
    for buffer, live in zip(target.buffers(), sharded.buffers(), strict=True):
        buffer.copy_(live)
