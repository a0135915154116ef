"""Copies of sharded denoisers that have all weights while a run is watched: a process evaluates them by itself."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from dit_run.model.denoiser import Denoiser

__all__ = ["WholeCopies"]


class WholeCopies:
    """A copy of each denoiser that will be sharded, under the same names. It has no weights, and no memory for them.

    Evaluating the sharded ones would need all processes at each call, and an error in one of them would leave them
    unfit for training. Build the copies before the denoisers are sharded or compiled.
    """

    def __init__(self, denoisers: Mapping[str, Denoiser], device: torch.device) -> None:
        self._sharded = dict(denoisers)
        self.copies = {name: _without_weights(denoiser).to(device).eval() for name, denoiser in denoisers.items()}

    @contextlib.contextmanager
    @torch.no_grad()
    def filled(self) -> Iterator[None]:
        """Let the copies have the present weights and buffers; all processes call this."""
        try:
            for name, denoiser in self._sharded.items():
                _fill(self.copies[name], denoiser)
            yield
        finally:
            for each in self.copies.values():
                for parameter in each.parameters():
                    parameter.data = parameter.data.new_empty(0)


def _without_weights(denoiser: Denoiser) -> Denoiser:
    empty = {
        id(parameter): nn.Parameter(parameter.detach().new_empty(0), requires_grad=False)
        for parameter in denoiser.parameters()
    }
    return copy.deepcopy(denoiser, dict(empty))


def _fill(target: Denoiser, sharded: Denoiser) -> None:
    for parameter, part in zip(target.parameters(), sharded.parameters(), strict=True):
        parameter.data = part.full_tensor()  # type: ignore[attr-defined]
    for buffer, live in zip(target.buffers(), sharded.buffers(), strict=True):
        buffer.copy_(live)
