"""Disk space that the checkpoints of a run need."""

from __future__ import annotations

import shutil
from pathlib import Path

from dit_run.system.units import size_text

__all__ = ["room_notice"]


def room_notice(folder: Path, one: int, *, limit: int | None, saves: int) -> str | None:
    """Return a warning if the coming checkpoints do not fit on the disk of ``folder``; None if they do.

    ``one`` is the approximate size of a checkpoint in bytes, ``limit`` the number of kept checkpoints, ``saves`` the
    number of coming ones. While one is written, all kept ones still exist.
    """
    kept = saves if limit is None else min(saves, limit + 1)
    present = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    needed, free = max(0, one * kept - present), shutil.disk_usage(folder).free
    if needed <= free:
        return None
    return (
        f"checkpoints will take about {size_text(needed)} more ({kept} of {size_text(one)}) and the disk of "
        f"{folder} has {size_text(free)} free: free space, or lower training.save_total_limit"
    )
