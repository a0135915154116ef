"""The addition of gradients in a fixed binary tree: the same bytes for any number of processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from dit_run.compute.distributed import Processes
from dit_run.compute.sharding import local
from dit_run.problems import InputError
from dit_run.training.step import Gradients

__all__ = ["TreeReducer"]

Leaf = list[Tensor]
"""A gradient for each parameter, and last, on the host, the number of micro-batches below that gave each a gradient.

Those of sharded parameters are sharded. The host reads these numbers in each step. On the device it would wait for
them.
"""


class TreeReducer(Gradients):
    """The reduction for ``training.elastic_exact``.

    Micro-batch v of a step, counted over all processes, is leaf v of a binary tree. Each process holds a whole
    subtree; the levels above it are added by recursive doubling: partners add the same two numbers, so all processes
    end with the same bits.
    """

    _added = 1
    """Processes, one after another, whose leaves are added already when a micro-batch ends."""

    def __init__(self, parameters: Sequence[nn.Parameter], micro_batches_total: int, processes: Processes) -> None:
        """Raise InputError unless both numbers are powers of two and each process has a micro-batch."""
        for count, name in ((micro_batches_total, "micro-batches a step"), (processes.count, "processes")):
            if count & (count - 1):
                raise InputError(f"training.elastic_exact needs a power of two of {name}, and this run has {count}")
        if processes.count > micro_batches_total:
            raise InputError(
                f"training.elastic_exact: {processes.count} processes cannot share {micro_batches_total} "
                "micro-batches a step"
            )
        super().__init__(micro_batches_total)
        self._parameters = list(parameters)
        self._processes = processes
        self._pending: list[tuple[int, Leaf]] = []

    @contextlib.contextmanager
    def micro_batch(self, index: int, last: bool) -> Iterator[None]:
        """Take the gradients of one micro-batch out of the parameters and add up the subtrees that are complete."""
        yield
        height, node = 0, self._take()
        while self._pending and self._pending[-1][0] == height:
            node = _add(self._pending.pop()[1], node)
            height += 1
        self._pending.append((height, node))

    def finish(self, parameters: Sequence[nn.Parameter]) -> None:
        """Give every parameter the sum over all micro-batches of all processes; None if no micro-batch gave it one."""
        (_, node), self._pending = self._pending[0], []
        node = self._combine(node, self._added, self._processes.count)
        for parameter, gradient, given in zip(self._parameters, node[:-1], node[-1].tolist(), strict=True):
            parameter.grad = gradient if given else None

    def mean(self, values: Sequence[Tensor]) -> Tensor:
        """Return the mean over all micro-batches, added in the same tree."""
        nodes = list(values)
        while len(nodes) > 1:
            nodes = [left + right for left, right in zip(nodes[::2], nodes[1::2], strict=True)]
        return self._combine(nodes, self._added, self._processes.count)[0] / self.divisor

    def _combine(self, node: Leaf, distance: int, end: int) -> Leaf:
        """Return the sum of the node with those of other processes: of every ``distance``-th one of ``end``."""
        while distance < end:
            node = _add(node, self._swap(node, self._processes.rank ^ distance))
            distance *= 2
        return node

    def _take(self) -> Leaf:
        given = [float(parameter.grad is not None) for parameter in self._parameters]
        leaf = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters]
        for parameter in self._parameters:
            parameter.grad = None
        return [*leaf, torch.tensor(given)]

    def _swap(self, node: Leaf, partner: int) -> Leaf:
        """Exchange nodes with the partner; return the partner's."""
        import torch.distributed as dist

        received: Leaf = []
        groups = _alike(node)
        for indices in groups:
            own = torch.cat([local(node[index]).reshape(-1) for index in indices])
            other = torch.empty_like(own)
            works = dist.batch_isend_irecv(
                [dist.P2POp(dist.isend, own, partner), dist.P2POp(dist.irecv, other, partner)]
            )
            for work in works:
                work.wait()
            received += torch.split(other, [local(node[index]).numel() for index in indices])
        places = [index for indices in groups for index in indices]
        ordered = dict(zip(places, received, strict=True))
        return [ordered[index].view_as(local(value)) for index, value in enumerate(node)]


def _add(left: Leaf, right: Leaf) -> Leaf:
    for indices in _alike(left):
        torch._foreach_add_([local(left[index]) for index in indices], [local(right[index]) for index in indices])
    return left


def _alike(node: Leaf) -> list[list[int]]:
    """Return the indices of tensors of each device and dtype."""
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for index, tensor in enumerate(node):
        groups.setdefault((tensor.device, tensor.dtype), []).append(index)
    return list(groups.values())
