"""Copies in the memory of the host, which a thread can write while training changes the originals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["host_copy"]


def host_copy(value: Any) -> Any:
    """Return nested dicts, lists and tuples with copies of their tensors in host memory, complete on return.

    Copies of CUDA tensors lie in pinned memory, several times as fast, which torch keeps for the next copies.
    """
    copied = _copied(value)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        done = torch.Event("cuda")
        done.record()
        done.synchronize()
    return copied


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        late = value.device.type == "cuda"
        copy = torch.empty(value.shape, dtype=value.dtype, pin_memory=late)
        return copy.copy_(value.detach(), non_blocking=late)
    if isinstance(value, Mapping):
        return {key: _copied(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_copied(each) for each in value])
    return value
