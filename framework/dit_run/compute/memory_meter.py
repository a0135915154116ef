"""Memory meter: current and peak memory of this process on its device."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import sys
from pathlib import Path

import torch

__all__ = ["MemoryMeter", "available_memory"]

_KERNEL, _MACHINE = Path("/proc/self"), Path("/proc/meminfo")
_GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class MemoryMeter:
    """Measure memory on one device (bytes).

    On a CPU this is the resident memory of the process, libraries included. On a GPU it is the memory reserved by
    torch's allocator plus the memory that was in use on the card before.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0
        if device.type == "cuda":
            free, total = torch.cuda.mem_get_info(device)
            self._before = total - free - torch.cuda.memory_reserved(device)

    @property
    def total(self) -> int:
        """Total memory of the card, or of the machine or its container (bytes)."""
        if self._device.type == "cuda":
            return torch.cuda.mem_get_info(self._device)[1]
        limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
        for file in _GROUPS:
            with contextlib.suppress(OSError, ValueError):
                limits.append(int(file.read_text()))
        return min(limits)

    def reset(self) -> None:
        """Release unused memory and restart the peak; on a system that cannot restart it, the peak stays."""
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)
            return
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        with contextlib.suppress(OSError):
            (_KERNEL / "clear_refs").write_text("5")

    @property
    def now(self) -> int:
        """Current memory (bytes); 0 if the system does not report it."""
        if self._device.type == "cuda":
            return self._before + torch.cuda.memory_reserved(self._device)
        return _status("VmRSS") or 0

    @property
    def peak(self) -> int:
        """Peak memory since the last reset (bytes)."""
        if self._device.type == "cuda":
            return self._before + torch.cuda.max_memory_reserved(self._device)
        known = _status("VmHWM")
        if known is not None:
            return known
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def available_memory() -> int:
    """Return the memory that this process can still take from the machine or its container (bytes)."""
    meter = MemoryMeter(torch.device("cpu"))
    left, unused = meter.total - meter.now, _reported(_MACHINE, "MemAvailable")
    return left if unused is None else min(left, unused)


def _status(name: str) -> int | None:
    return _reported(_KERNEL / "status", name)


def _reported(file: Path, name: str) -> int | None:
    """Return the bytes that a file of Linux reports under this name; None where it is missing."""
    with contextlib.suppress(OSError):
        lines = file.read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)
    return None
