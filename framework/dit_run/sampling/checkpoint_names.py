"""Names of checkpoints in a run: ``step-00000100``, the step ``100``, ``last`` and ``best``."""

from __future__ import annotations

from pathlib import Path

from dit_run.problems import InputError
from dit_run.runs.checkpoint.checkpoint_files import load_state
from dit_run.runs.checkpoint.store import Checkpoints
from dit_run.runs.checkpoint.weights import newest_weights, refuse_damage, weight_damages
from dit_run.runs.run_folder import RunFolder

__all__ = ["named_checkpoint"]


def named_checkpoint(folder: RunFolder, name: str, *, average: str | None) -> tuple[Path, tuple[str, ...]]:
    """Return the folder of a checkpoint of a run, its weights verified, and newer damaged ones that were passed over.

    ``last`` is the newest one with complete weights, ``best`` the one with the lowest validation loss. ``average``
    chooses the weights (see :mod:`dit_run.runs.checkpoint.weights`), and no other file is read. Raises InputError where
    there is none of this name.
    """
    checkpoints = Checkpoints(folder.checkpoints, folder.run_id())
    if name == "last":
        return _newest(folder, checkpoints, average)
    if name == "best":
        path = _best(folder, checkpoints)
    else:
        path = checkpoints.path(int(name)) if name.isdecimal() else folder.checkpoints / name
    if not path.is_dir():
        names = ", ".join(found.name for found in checkpoints.paths()) or "none"
        raise InputError(f"{folder.path} has no checkpoint {name!r}; its checkpoints are: {names} (or: last, best)")
    refuse_damage(path, weight_damages(path, average=average))
    return path, ()


def _newest(folder: RunFolder, checkpoints: Checkpoints, average: str | None) -> tuple[Path, tuple[str, ...]]:
    newest, passed_over = newest_weights(checkpoints.paths(), average=average)
    if newest is None:
        raise InputError(f"{folder.path} has no checkpoint yet")
    return newest, passed_over


def _best(folder: RunFolder, checkpoints: Checkpoints) -> Path:
    """Return the checkpoint whose step the status names as the best, else the one that the newest checkpoint names.

    That of the status may still be written.
    """
    status = folder.read_status() or {}
    records = [status, *(load_state(last) for last in checkpoints.paths()[-1:])]
    named = [best["step"] for record in records if isinstance(best := record.get("best"), dict) and "step" in best]
    paths = [checkpoints.path(step) for step in named if isinstance(step, int)]
    if not paths:
        raise InputError(f"{folder.path} has no best checkpoint: no validation loss was measured; choose another one")
    found = next((path for path in paths if path.is_dir()), None)
    if found is None:
        raise InputError(f"the best checkpoint of {folder.path}, {paths[0].name}, is missing; choose another one")
    return found
