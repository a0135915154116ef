"""Names of checkpoints in a run: ``step-00000100``, the step ``100``, ``last`` and ``best``."""

from __future__ import annotations

from pathlib import Path

from dit_run.problems import InputError
from dit_run.runs.checkpoint.store import Checkpoints, load_state
from dit_run.runs.run_folder import RunFolder

__all__ = ["named_checkpoint"]


def named_checkpoint(folder: RunFolder, checkpoints: Checkpoints, name: str) -> Path:
    """Return the folder of a checkpoint of a run.

    ``last`` is the newest valid one, ``best`` the one with the lowest validation loss. Raises InputError where there is
    none of this name.
    """
    if name == "last":
        return _newest(folder, checkpoints)
    if name == "best":
        return _best(folder, checkpoints)
    path = checkpoints.path(int(name)) if name.isdecimal() else folder.checkpoints / name
    if not path.is_dir():
        names = ", ".join(found.name for found in checkpoints.paths()) or "none"
        raise InputError(f"{folder.path} has no checkpoint {name!r}; its checkpoints are: {names} (or: last, best)")
    return path


def _newest(folder: RunFolder, checkpoints: Checkpoints) -> Path:
    newest = checkpoints.newest_valid().path
    if newest is None:
        raise InputError(f"{folder.path} has no checkpoint yet")
    return newest


def _best(folder: RunFolder, checkpoints: Checkpoints) -> Path:
    """Return the checkpoint whose step the status names as the best, else the one that the newest checkpoint names."""
    status = folder.read_status() or {}
    best = status.get("best") or load_state(_newest(folder, checkpoints)).get("best") or {}
    step = best.get("step") if isinstance(best, dict) else None
    if not isinstance(step, int):
        raise InputError(f"{folder.path} has no best checkpoint: no validation loss was measured; choose another one")
    path = checkpoints.path(step)
    if not path.is_dir():
        raise InputError(f"the best checkpoint of {folder.path}, {path.name}, is missing; choose another one")
    return path
