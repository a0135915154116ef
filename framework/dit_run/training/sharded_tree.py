"""The addition of sharded gradients in the tree of ``training.elastic_exact``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dit_run.compute.distributed import Processes
from dit_run.compute.gradient_sums import sum_gradients
from dit_run.compute.sharding import Sharding
from dit_run.compute.whole_tensors import whole_norms
from dit_run.model.denoiser import trainable_parameters
from dit_run.training.tree_reduction import TreeReducer

__all__ = ["ShardedTreeReducer"]


class ShardedTreeReducer(TreeReducer):
    """The tree for weights that processes share.

    The processes of a replica take turns with its micro-batches, so that the leaves that they add with each micro-batch
    are a whole subtree, and only parts of gradients wait for the levels above.
    """

    def __init__(self, sharded: nn.Module, micro_batches_total: int, processes: Processes, sharding: Sharding) -> None:
        """Take a module of this sharding, with all that trains. Raises InputError as the tree of whole weights."""
        parameters = [parameter for _, parameter in trainable_parameters(sharded)]
        super().__init__(parameters, micro_batches_total, processes)
        self._added = sharding.count
        sum_gradients(sharded, in_tree=True)

    def mean(self, values: Sequence[Tensor]) -> Tensor:
        (sums,) = self._combine([torch.stack(list(values))], 1, self._added)
        return super().mean(sums.unbind())

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return the norm that a process with whole gradients has."""
        return torch.linalg.vector_norm(whole_norms(gradients)) if gradients else super().norm(gradients)
