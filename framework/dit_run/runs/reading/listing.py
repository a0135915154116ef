"""The runs in a folder: found at any depth, and summed up in one row each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dit_run.problems import InputError
from dit_run.runs.reading.run_files import RunFiles
from dit_run.runs.reading.summary import summarize

__all__ = ["find_runs", "load_runs"]

_DEEPEST = 6
"""Number of folders between a root and a run that are searched."""


def load_runs(folder: str | Path = "outputs") -> list[dict[str, Any]]:
    """Return one row per run in a folder, ready for ``pandas.DataFrame``, the run that changed last first.

    A row has the fields of :class:`dit_run.runs.reading.summary.RunSummary` and the last value of everything that was
    logged near the end of ``metrics.jsonl``, under its name. Imports no torch. Raises InputError if there is no such
    folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; name the folder in which runs lie")
    summaries = sorted((summarize(files) for files in find_runs(root)), key=lambda found: -found.updated)
    return [summary.row() for summary in summaries]


def find_runs(root: Path) -> Iterator[RunFiles]:
    """Yield the run folders at and below a root, by name. Links are followed only where they stay below it."""
    real = root.resolve()
    if real.is_dir():
        yield from _search(real, real, set(), 0)


def _search(root: Path, folder: Path, seen: set[Path], depth: int) -> Iterator[RunFiles]:
    if folder in seen or not folder.is_relative_to(root):
        return
    seen.add(folder)
    files = RunFiles(root, folder)
    if files.is_run:
        yield files
    elif depth < _DEEPEST:
        for child in _folders(folder):
            yield from _search(root, child, seen, depth + 1)


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
        return [(folder / name).resolve() for name in names]
    except (OSError, RuntimeError):
        return []
