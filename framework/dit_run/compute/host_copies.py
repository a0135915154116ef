"""Copies in the memory of the host, which a thread can write while training changes the originals."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dit_run.compute.nested_tensors import map_tensors

__all__ = ["host_copy"]


def host_copy(value: Any) -> Any:
    """Return nested dicts, lists and tuples with copies of their tensors in host memory, complete on return.

    Copies of CUDA tensors lie in pinned memory, several times as fast, which torch keeps for the next copies.
    """
    copied = map_tensors(value, _copied)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        done = torch.Event("cuda")
        done.record()
        done.synchronize()
    return copied


def _copied(tensor: Tensor) -> Tensor:
    late = tensor.device.type == "cuda"
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=late)
    return copy.copy_(tensor.detach(), non_blocking=late)
