"""The machine that a run would use: its device, memory, cores and free disk."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from dit_run.compute.devices import multiplies_bfloat16
from dit_run.compute.memory_meter import MemoryMeter
from dit_run.system.cores import usable_cores

__all__ = ["Machine"]


@dataclass(frozen=True)
class Machine:
    """The facts about a machine that decide a config."""

    device: str
    """``cpu``, ``cuda`` or ``mps``."""
    name: str
    memory: int
    """Memory of the device (bytes)."""
    cores: int
    has_bfloat16: bool
    """True if the device multiplies bfloat16 faster than fp32."""
    free: int
    """Free disk space of the current folder (bytes)."""

    @classmethod
    def of(cls, device: torch.device) -> Machine:
        """Look at the device, the processor and the disk of the current folder."""
        cuda = device.type == "cuda"
        return cls(
            device=device.type,
            name=torch.cuda.get_device_name(device) if cuda else device.type,
            memory=MemoryMeter(device).total,
            cores=usable_cores(),
            has_bfloat16=multiplies_bfloat16(device),
            free=shutil.disk_usage(Path.cwd()).free,
        )
