"""Timing: peak speed of matrix products, durations of work, and operation counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

__all__ = ["Clock", "gemm_peak", "operations", "seconds_of", "synchronise"]

SIZES = (1024, 2048, 4096)
LONG_ENOUGH = 0.5
"""Time limit (seconds): a product this long is large enough, and a series of tries this long has enough of them."""
MOST_TRIES = 10

Clock = Callable[[], float]
"""Seconds since some moment."""


def gemm_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Return the peak of square matrix products, over some sizes and tries (floating-point operations per second)."""
    best = 0.0
    for size in SIZES:
        seconds = _product_seconds(size, device, dtype)
        best = max(best, 2 * size**3 / seconds)
        if 8 * seconds > LONG_ENOUGH:  # the next size takes eight times as long
            break
    return best


def _product_seconds(size: int, device: torch.device, dtype: torch.dtype) -> float:
    one, other = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    return min(seconds_of(lambda: torch.mm(one, other), device, tries=3))


def seconds_of(
    work: Callable[[], object], device: torch.device, *, tries: int = 2, clock: Clock = time.perf_counter
) -> list[float]:
    """Return the seconds of at least ``tries`` calls, more if they are fast, after one warm-up call."""
    taken: list[float] = []
    while len(taken) <= tries or (len(taken) < MOST_TRIES and sum(taken) < LONG_ENOUGH):
        synchronise(device)
        began = clock()
        work()
        synchronise(device)
        taken.append(clock() - began)
    return taken[1:]


def operations() -> FlopCounterMode:
    """Return a context that counts floating-point operations of matrix products; read it with ``get_total_flops()``.

    It includes CPU attention, which torch's own table leaves out.
    """

    def attention(query: torch.Size, key: torch.Size, value: torch.Size, *rest: Any, **named: Any) -> int:
        return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]

    on_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(display=False, custom_mapping={on_cpu: attention})


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished all its work."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()
