"""Whole tensors of sharded ones: the processes that hold the parts share out the whole ones.

Some results depend on the shards in their last bits when they are computed from parts: a CPU rounds the numbers that
fill a vector otherwise than those that are left over at the end, and a sum depends on its order. Those of whole tensors
do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dit_run.compute.sharding import is_sharded, local

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor, Placement

__all__ = ["alike", "hand_back", "of_whole", "share_out", "update_whole", "whole_norms"]


@dataclass(frozen=True)
class _Stack:
    """``count`` tensors that are sharded as ``like``, one above the other."""

    like: DTensor
    count: int

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> _Stack:
        from torch.distributed.tensor import DTensor

        assert isinstance(tensors[0], DTensor)
        return cls(tensors[0], len(tensors))

    def wholes(self, parts: Tensor) -> Tensor:
        """Return those whole tensors that are this process's, of its parts [count, ...] of all."""
        return self._moved(parts, self._split, self._shared)

    def parts(self, wholes: Tensor) -> Tensor:
        """Return this process's parts of all tensors, [count, ...], of the whole ones that are its own."""
        return self._moved(wholes, self._shared, self._split)

    @property
    def _split(self) -> list[Placement]:
        """The placements of a stack of which each process has parts of all tensors."""
        from torch.distributed.tensor import Shard

        return [Shard(each.dim + 1) if isinstance(each, Shard) else each for each in self.like.placements]

    @property
    def _shared(self) -> list[Placement]:
        """The placements of a stack of which each process has some whole tensors."""
        from torch.distributed.tensor import Shard

        return [Shard(0) if isinstance(each, Shard) else each for each in self.like.placements]

    def _moved(self, values: Tensor, before: Sequence[Placement], after: Sequence[Placement]) -> Tensor:
        from torch.distributed.tensor import DTensor

        mesh, shape = self.like.device_mesh, torch.Size((self.count, *self.like.shape))
        stride = (self.like.numel(), *self.like.stride())
        whole = DTensor.from_local(values, mesh, before, shape=shape, stride=stride)
        moved: Tensor = whole.redistribute(mesh, after).to_local()
        return moved

    @property
    def own(self) -> range:
        """Places of the tensors that are whole in this process; equal numbers, the last processes have fewer."""
        from torch.distributed.tensor import Shard

        dimension = self.like.placements.index(Shard(0))
        most = -(-self.count // self.like.device_mesh.size(dimension))
        first = self.like.device_mesh.get_local_rank(dimension) * most
        return range(min(first, self.count), min(first + most, self.count))


def of_whole(function: Callable[[Tensor], Tensor], parts: Tensor, like: Tensor) -> Tensor:
    """Apply a function of n tensors [n, ...] to whole ones, and return this process's parts of the results, [n, ...].

    ``parts`` are this process's parts of tensors that are sharded as ``like``; the processes share out the whole ones.
    """
    if not is_sharded(like):
        return function(parts)
    stack = _Stack(like, len(parts))  # type: ignore[arg-type]
    return stack.parts(function(stack.wholes(parts)))


def share_out(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors that are sharded alike: each whole in one process, and without rows in the others."""
    stack = _Stack.of(tensors)
    own = dict(zip(stack.own, stack.wholes(torch.stack([local(each) for each in tensors])), strict=True))
    empty = local(tensors[0]).new_empty((0, *tensors[0].shape[1:]))
    return [own.get(place, empty) for place in range(len(tensors))]


def hand_back(wholes: Sequence[Tensor], parts: Sequence[Tensor]) -> None:
    """Copy tensors as of :func:`share_out` into sharded ones."""
    stack = _Stack.of(parts)
    own = [wholes[place] for place in stack.own]
    stacked = torch.stack(own) if own else wholes[0].new_empty((0, *parts[0].shape))
    for part, values in zip(parts, stack.parts(stacked), strict=True):
        local(part).copy_(values)


@torch.no_grad()
def update_whole(
    update: Callable[[list[Tensor], list[Tensor]], object], changed: Sequence[Tensor], read: Sequence[Tensor]
) -> None:
    """Call a function that changes tensors in place, by others of their shapes, with whole ones.

    The processes share them out, so that each gets some, by shape.
    """
    for places in alike(changed):
        targets = [changed[place] for place in places]
        wholes = share_out(targets)
        update(wholes, share_out([read[place] for place in places]))
        hand_back(wholes, targets)


def whole_norms(tensors: Sequence[Tensor]) -> Tensor:
    """Return the norm of each of some sharded tensors, [n]: in every process the bits of one that has all of it."""
    import torch.distributed as dist
    from torch.distributed.tensor import DTensor, Shard

    first = tensors[0]
    assert isinstance(first, DTensor)
    norms = torch.zeros(len(tensors), dtype=first.dtype, device=first.device)
    for places in alike(tensors):
        shared = [tensors[place] for place in places]
        own, wholes = _Stack.of(shared).own, share_out(shared)
        found = torch._foreach_norm([wholes[index] for index in own], 2.0) if own else []
        for index, norm in zip(own, found, strict=True):
            norms[places[index]] = norm
    dist.all_reduce(norms, group=first.device_mesh.get_group(first.placements.index(Shard(0))))
    return norms


def alike(tensors: Iterable[Tensor]) -> list[list[int]]:
    """Return the places of tensors of each shape and dtype."""
    places: dict[tuple[torch.Size, torch.dtype], list[int]] = {}
    for place, tensor in enumerate(tensors):
        places.setdefault((tensor.shape, tensor.dtype), []).append(place)
    return list(places.values())
