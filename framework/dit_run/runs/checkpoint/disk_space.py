"""How much room a run's checkpoints will take, and whether the disk has it."""

from __future__ import annotations

import shutil
from pathlib import Path

__all__ = ["room_notice"]


def room_notice(folder: Path, one: int, *, limit: int | None, saves: int) -> str | None:
    """A warning where the checkpoints to come do not fit the disk of ``folder``; None where they do.

    ``one`` is about the bytes of a checkpoint, ``limit`` how many are kept, ``saves`` how many will be made. While one
    is written those kept are all there.
    """
    kept = saves if limit is None else min(saves, limit + 1)
    present = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    needed, free = max(0, one * kept - present), shutil.disk_usage(folder).free
    if needed <= free:
        return None
    return (
        f"checkpoints will take about {needed / 2**30:.3g} GiB more ({kept} of {one / 2**30:.3g} GiB) and the disk of "
        f"{folder} has {free / 2**30:.3g} GiB free: make room, or lower training.save_total_limit"
    )
