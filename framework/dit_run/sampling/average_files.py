"""Averages of a run's weights by name: those in its checkpoints, and the files of those made after training."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from dit_run.problems import InputError
from dit_run.runs.checkpoint.store import Checkpoints
from dit_run.runs.checkpoint.weights import kept_averages
from dit_run.runs.run_folder import RunFolder

__all__ = ["average_file", "free_file", "kept_in"]

_ENDING = ".safetensors"


def kept_in(folder: RunFolder) -> tuple[str, ...]:
    """Return the names of the averages in a run's readable checkpoints."""
    names: list[str] = []
    for path in Checkpoints(folder.checkpoints, "").paths():
        with suppress(InputError):  # a damaged checkpoint is reported where it is used
            names += kept_averages(path)
    return tuple(dict.fromkeys(names))


def average_file(folder: RunFolder, name: str) -> Path:
    """Return the file of an average that was made after training. Raises InputError where no average has this name."""
    path = folder.averages / f"{name}{_ENDING}"
    if not path.is_file():
        made = sorted(found.stem for found in folder.averages.glob(f"*{_ENDING}"))
        raise InputError(
            f"{folder.path} has no average {name!r}; its averages are: {', '.join([*kept_in(folder), *made]) or 'none'}"
            ". Make one with dit-run average RUN --length 0.1"
        )
    return path


def free_file(folder: RunFolder, name: str) -> Path:
    """Return the file of an average that is about to be made. Raises InputError for a name that is taken."""
    path = folder.averages / f"{name}{_ENDING}"
    if path.exists():
        raise InputError(f"{path} exists, and nothing is overwritten; choose another --name, or remove it")
    if name in kept_in(folder):
        raise InputError(f"the checkpoints of {folder.path} have an average {name!r}; choose another --name")
    return path
