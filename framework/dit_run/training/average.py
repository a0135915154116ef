"""The moving average of the weights that train."""

from __future__ import annotations

import copy
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from dit_run.compute.sharding import Sharding, local
from dit_run.compute.whole_tensors import update_whole
from dit_run.protocols import AverageShare

__all__ = ["Average"]

M = TypeVar("M", bound=nn.Module)


class Average(Generic[M]):
    """A second instance of a module whose parameters are fp32 averages of the first's.

    The live module is only read; frozen weights, which are their own average, belong to both. The averages are ordinary
    weights of :attr:`module`, under the same names, and are saved, loaded and evaluated as such. Build it before the
    live module is compiled or wrapped.
    """

    module: M
    """In eval mode, on the live module's device, without gradients."""

    def __init__(self, live: M, share: AverageShare) -> None:
        self._live = live
        self._share = share
        self._whole = False
        frozen = {id(weight): weight for weight in live.parameters() if not weight.requires_grad}
        self.module = copy.deepcopy(live, dict(frozen)).float().eval().requires_grad_(False)
        self._pairs = self._paired()

    @torch.no_grad()
    def _paired(self) -> list[tuple[Tensor, Tensor]]:
        """Return each weight that trains, with its average: this process's parts, or sharded ones to update whole."""
        pairs = zip(self._live.parameters(), self.module.parameters(), strict=True)
        trained: list[tuple[Tensor, Tensor]] = [pair for pair in pairs if pair[0].requires_grad]
        return trained if self._whole else [(local(weight), local(average)) for weight, average in trained]

    def shard(self, sharding: Sharding) -> None:
        """Shard the averages, after the live weights."""
        sharding.apply(self.module)
        self._whole = sharding.exact
        self._pairs = self._paired()

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the weights after optimizer step ``step``, counted from 0. Buffers are copied."""
        averages: list[Tensor] = [average for _, average in self._pairs]
        weights = [weight.to(average.dtype) for weight, average in self._pairs]
        if self._whole:
            update_whole(partial(torch._foreach_lerp_, weight=self._share(step)), averages, weights)
        else:
            torch._foreach_lerp_(averages, weights, self._share(step))
        for average, buffer in zip(self.module.buffers(), self._live.buffers(), strict=True):
            average.copy_(buffer)
