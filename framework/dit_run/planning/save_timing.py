"""A trial save: the time that training waits for a checkpoint."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

from torch import Tensor

from dit_run.compute.memory_meter import available_memory
from dit_run.compute.timing import Clock
from dit_run.runs.checkpoint.checkpoint_files import CheckpointContents, needed_bytes
from dit_run.runs.checkpoint.store import Checkpoints
from dit_run.runs.run_folder import place_of

__all__ = ["saving_seconds", "waiting_seconds"]

MOST_BYTES = 256 * 2**20
"""Most tensors that a trial writes; the time of a larger checkpoint is extrapolated (bytes)."""
LONG_ENOUGH, MOST_SAVES = 1.0, 3
"""Time after which no further save is tried (seconds), and most saves (number)."""


def waiting_seconds(
    contents: CheckpointContents, run_dir: Path, *, behind: bool, clock: Clock = time.perf_counter
) -> float:
    """Return the seconds that training waits for a checkpoint: for its copies, if it is written ``behind`` training.

    Without room for copies it is written at once, as by a run.
    """
    if not behind or needed_bytes(contents) > available_memory():
        return saving_seconds(contents, run_dir, clock=clock)
    contents.copied()  # from the second time on a GPU's copies find their memory
    began = clock()
    contents.copied()
    return clock() - began


def saving_seconds(contents: CheckpointContents, run_dir: Path, *, clock: Clock = time.perf_counter) -> float:
    """Return the seconds of a checkpoint. The written files are removed. Raises SaveFailed where writing fails."""
    part = replace(contents, model=_part(contents.model), averages={}, optimizer={})
    whole = needed_bytes(contents) <= MOST_BYTES
    taken: list[float] = []
    with tempfile.TemporaryDirectory(prefix=".dit-run-plan-", dir=_writable(place_of(run_dir))) as folder:
        checkpoints = Checkpoints(Path(folder) / "checkpoints", "plan")
        while len(taken) < MOST_SAVES and sum(taken) < LONG_ENOUGH:
            began = clock()
            checkpoints.save(len(taken) + 1, contents if whole else part, limit=2)
            taken.append(clock() - began)
    return median(taken) * (1 if whole else needed_bytes(contents) / needed_bytes(part))


def _part(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of about the size of a trial, at least one."""
    chosen: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors.items():
        if size >= MOST_BYTES:
            break
        chosen[name] = tensor
        size += tensor.numel() * tensor.element_size()
    return chosen


def _writable(folder: Path) -> Path | None:
    """Return the folder, or None, which means the system's temporary folder, where nothing can be written."""
    return folder if os.access(folder, os.W_OK) else None
