"""The reduction of gradients over micro-batches and processes."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dit_run.compute.distributed import Processes
from dit_run.compute.gradient_sums import sum_gradients
from dit_run.compute.sharding import Sharding
from dit_run.model.denoiser import trainable_parameters
from dit_run.training.sharded_tree import ShardedTreeReducer
from dit_run.training.step import Gradients
from dit_run.training.step_loss import StepLoss
from dit_run.training.tree_reduction import TreeReducer

__all__ = ["DistributedGradients", "distribute"]


class DistributedGradients(Gradients):
    """The mean over processes by DistributedDataParallel, once a step: with the last micro-batch."""

    def __init__(self, wrapped: DistributedDataParallel, accumulation: int) -> None:
        super().__init__(accumulation)
        self._wrapped = wrapped

    def micro_batch(self, index: int, last: bool) -> contextlib.AbstractContextManager[object]:
        context: contextlib.AbstractContextManager[object] = (
            contextlib.nullcontext() if last else self._wrapped.no_sync()
        )
        return context

    def mean(self, values: Sequence[Tensor]) -> Tensor:
        return _mean(values)


class ShardedGradients(Gradients):
    """The mean over processes by ``fully_shard``, with each micro-batch, so that no process holds whole gradients."""

    def __init__(self, sharded: nn.Module, micro_batches_total: int, sharding: Sharding) -> None:
        super().__init__(micro_batches_total)
        self._sharding = sharding
        sum_gradients(sharded)

    def mean(self, values: Sequence[Tensor]) -> Tensor:
        return _mean(values)

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        return self._sharding.norm(gradients)


def _mean(values: Sequence[Tensor]) -> Tensor:
    total = torch.stack(list(values)).sum(0)
    torch.distributed.all_reduce(total)
    return total / (len(values) * torch.distributed.get_world_size())


def distribute(
    loss: StepLoss, processes: Processes, sharding: Sharding | None = None, *, exact: bool, accumulation: int
) -> tuple[nn.Module, Gradients]:
    """Return the module to call in the step, and the reduction of its gradients.

    ``sharding`` is that of the loss. ``exact`` adds gradients in a binary tree that is the same for any number of
    processes.
    """
    if sharding is not None and exact:
        return loss, ShardedTreeReducer(loss, accumulation * processes.count, processes, sharding)
    if sharding is not None:
        return loss, ShardedGradients(loss, accumulation * processes.count, sharding)
    if exact:
        parameters = [parameter for _, parameter in trainable_parameters(loss)]
        return loss, TreeReducer(parameters, accumulation * processes.count, processes)
    if processes.count == 1:
        return loss, Gradients(accumulation)
    wrapped = _replicated(loss)
    return wrapped, DistributedGradients(wrapped, accumulation)


def _replicated(loss: StepLoss) -> DistributedDataParallel:
    """Wrap all that trains so that every step, of a new or of a continued run, adds gradients in the same buckets.

    Without a search for unused parameters, DistributedDataParallel makes new buckets after the first backward pass of
    a process. A continued run would then add its first gradients in another order than an uninterrupted one. The
    search also allows parameters that take no part in a step, as one process does.
    """
    with warnings.catch_warnings():
        # Not every torch that we allow has the replacement of broadcast_buffers.
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(
            loss, gradient_as_bucket_view=True, broadcast_buffers=False, find_unused_parameters=True
        )
