"""A trial save: how long a checkpoint takes, on the disk that the run's will be on."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

from torch import Tensor

from dit_run.runs.checkpoint.store import CheckpointContents, Checkpoints, needed_bytes
from dit_run.runs.run_folder import place_of

__all__ = ["saving_seconds"]

MOST_BYTES = 256 * 2**20
"""Of the tensors that are written; the time of larger checkpoints is worked out from these."""
LONG_ENOUGH, MOST_SAVES = 1.0, 3
"""Seconds after which no further save is tried; how many are."""


def saving_seconds(contents: CheckpointContents, run_dir: Path) -> float:
    """Seconds of a checkpoint. What is written goes again at once. Raises SaveFailed where it cannot be written."""
    part = replace(contents, model=_part(contents.model), ema=None, optimizer={})
    whole = needed_bytes(contents) <= MOST_BYTES
    taken: list[float] = []
    with tempfile.TemporaryDirectory(prefix=".dit-run-plan-", dir=_writable(place_of(run_dir))) as folder:
        checkpoints = Checkpoints(Path(folder) / "checkpoints", "plan")
        while len(taken) < MOST_SAVES and sum(taken) < LONG_ENOUGH:
            began = time.perf_counter()
            checkpoints.save(len(taken) + 1, contents if whole else part, limit=2)
            taken.append(time.perf_counter() - began)
    return median(taken) * (1 if whole else needed_bytes(contents) / needed_bytes(part))


def _part(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As many tensors as make up the bytes that are tried, and at least one."""
    chosen: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors.items():
        if size >= MOST_BYTES:
            break
        chosen[name] = tensor
        size += tensor.numel() * tensor.element_size()
    return chosen


def _writable(folder: Path) -> Path | None:
    """None, which is the system's own choice, where nothing can be written."""
    return folder if os.access(folder, os.W_OK) else None
