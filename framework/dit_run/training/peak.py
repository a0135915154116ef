"""The device's own limit: how many multiplications of matrices it does in a second, and how many a model asks for."""

from __future__ import annotations

import time

import torch

__all__ = ["gemm_peak", "synchronise"]

SIZES = (1024, 2048, 4096)
LONG_ENOUGH = 0.5
"""Seconds that a product takes from which on larger ones would be no quicker for their size."""


def gemm_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second: the best of square products of these sizes, some tries each."""
    best = 0.0
    for size in SIZES:
        seconds = _product_seconds(size, device, dtype)
        best = max(best, 2 * size**3 / seconds)
        if seconds > LONG_ENOUGH:
            break
    return best


def _product_seconds(size: int, device: torch.device, dtype: torch.dtype, tries: int = 4) -> float:
    one, other = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    taken = []
    for _ in range(tries):
        synchronise(device)
        began = time.perf_counter()
        torch.mm(one, other)
        synchronise(device)
        taken.append(time.perf_counter() - began)
    return min(taken)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()
