"""The matrix products of a step alone: a limit for any step with these shapes."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dit_run.compute.timing import synchronise

__all__ = ["seconds_of_products"]

NAMES = ("mm", "addmm", "addmm_", "bmm", "baddbmm")
TIMES = 7
Layout = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]


def seconds_of_products(step: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of all matrix products of ``step``, each repeated with its own shapes and layouts."""
    found = _Found()
    with found:
        step()
    return sum(count * _seconds(*product, device) for product, count in found.products.items())


class _Found(TorchDispatchMode):
    """Count products by operation, shapes and layouts."""

    def __init__(self) -> None:
        super().__init__()
        self.products: Counter[tuple[Any, tuple[Any, ...]]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in NAMES:
            tensors = [
                (tuple(each.shape), each.stride(), each.dtype) for each in args if isinstance(each, torch.Tensor)
            ]
            self.products[func, tuple(tensors)] += 1
        return func(*args, **(kwargs or {}))


def _seconds(operation: Any, layouts: tuple[Layout, ...], device: torch.device) -> float:
    tensors = [_made(*layout, device) for layout in layouts]
    taken = []
    for _ in range(TIMES + 1):
        began = time.perf_counter()
        operation(*tensors)
        synchronise(device)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def _made(shape: tuple[int, ...], strides: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.empty_strided(shape, strides, dtype=dtype, device=device).uniform_(-0.1, 0.1)
