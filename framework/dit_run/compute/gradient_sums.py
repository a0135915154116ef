"""The sums of gradients over the processes that share weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["TreeScatter", "sum_gradients"]


class TreeScatter:
    """The exchange of ``fully_shard`` that gives each process the sum of its part of all gradients, in a fixed tree.

    A reduce-scatter of the library adds in an order of its own. Here each process gets its part of the gradients of
    all, which takes as many bytes, and adds neighbours first: 0 + 1, 2 + 3, then the sums. The number of processes is a
    power of two.
    """

    def allocate(self, size: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return memory for gradients."""
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(
        self, output_tensor: Tensor, input_tensor: Tensor, group: Any, op: Any, async_op: bool = False
    ) -> None:
        """Write the sum of this process's part; the input holds the parts of all processes one after another."""
        import torch.distributed as dist

        received = torch.empty_like(input_tensor)
        dist.all_to_all_single(received, input_tensor, group=group)
        sums = received.view(group.size(), -1)
        while len(sums) > 1:
            sums = sums[::2] + sums[1::2]
        output_tensor.copy_(sums[0])


def sum_gradients(sharded: nn.Module, *, in_tree: bool = False) -> None:
    """Let the shards of a module add the gradients of all processes, without a division: the loss is divided instead.

    ``in_tree`` adds them in a fixed tree.
    """
    from torch.distributed.fsdp import FSDPModule

    for module in sharded.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo has no other reduction
            if in_tree:
                module.set_custom_reduce_scatter(TreeScatter())  # type: ignore[arg-type]  # its base class is private
