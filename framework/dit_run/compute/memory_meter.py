"""MemoryMeter: the memory that this process takes on its device, and the most it took."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import sys
from pathlib import Path

import torch

__all__ = ["MemoryMeter"]

_KERNEL = Path("/proc/self")
_GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class MemoryMeter:
    """On a CPU the resident memory of the process, libraries included; on a GPU what its allocator holds and what was
    taken of the card before it held anything."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0
        if device.type == "cuda":
            free, total = torch.cuda.mem_get_info(device)
            self._before = total - free - torch.cuda.memory_reserved(device)

    @property
    def total(self) -> int:
        """Bytes that there are: of the card, or of this machine or the part of it that its container may use."""
        if self._device.type == "cuda":
            return torch.cuda.mem_get_info(self._device)[1]
        limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
        for file in _GROUPS:
            with contextlib.suppress(OSError, ValueError):
                limits.append(int(file.read_text()))
        return min(limits)

    def reset(self) -> None:
        """Give back what is not in use, and begin to look for the most again. Where the system cannot, the most since
        the process began stays."""
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
        """Bytes at present; 0 where the system does not say."""
        if self._device.type == "cuda":
            return self._before + torch.cuda.memory_reserved(self._device)
        return _status("VmRSS") or 0

    @property
    def peak(self) -> int:
        """The most bytes since the last reset."""
        if self._device.type == "cuda":
            return self._before + torch.cuda.max_memory_reserved(self._device)
        known = _status("VmHWM")
        if known is not None:
            return known
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _status(name: str) -> int | None:
    """Bytes that Linux counts under this name for this process."""
    with contextlib.suppress(OSError):
        lines = (_KERNEL / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
    return None
