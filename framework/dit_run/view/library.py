"""The library: all runs under the given folders, found by an id, with what was read of them so far."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from dit_run.runs.reading.listing import find_runs
from dit_run.runs.reading.metrics_log import MetricsLog
from dit_run.runs.reading.run_files import RunFiles
from dit_run.runs.reading.sample_grids import SampleGrid, grid_file, grid_steps, read_grid
from dit_run.runs.reading.summary import RunSummary, is_gone, summarize

__all__ = ["Kept", "RunLibrary", "run_id"]

T = TypeVar("T")

_LOG_BYTES = 96 * 2**20
"""Memory for the values of metrics (bytes); the log that was asked for last is always kept."""
_WATCHED = ("status.json", "provenance.json", "config.yaml", "metrics.jsonl", "samples", "checkpoints")


def run_id(files: RunFiles) -> str:
    """Return the name of a run in addresses, which says nothing about the file system."""
    return hashlib.sha256(str(files.path).encode("utf-8", "surrogateescape")).hexdigest()[:12]


class Kept(Generic[T]):
    """The last results of a function by key, up to a total size; thread-safe."""

    def __init__(self, size: Callable[[T], int], most: int) -> None:
        self._size = size
        self._most = most
        self._items: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the item of a key, which ``make`` returns where none is kept."""
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
                return self._items[key]
        made = make()
        with self._lock:
            self._items[key] = made = self._items.get(key, made)
            self._drop()
        return made

    def trim(self) -> None:
        """Drop the oldest items; items may have grown since they were added."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        total = sum(map(self._size, self._items.values()))
        while total > self._most and len(self._items) > 1:
            _, dropped = self._items.popitem(last=False)
            total -= self._size(dropped)


class RunLibrary:
    """The runs under some folders."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = tuple(folder.absolute() for folder in folders)
        self._runs: dict[str, RunFiles] = {}
        self._summaries = Kept[RunSummary](lambda _: 1, 4096)
        self._grids = Kept[SampleGrid | None](lambda _: 1, 4096)
        self._logs = Kept[MetricsLog](lambda log: log.nbytes, _LOG_BYTES)

    def runs(self) -> dict[str, RunFiles]:
        """Return the runs by id, searched again."""
        found = (files for folder in self.folders for files in find_runs(folder))
        self._runs = {run_id(files): files for files in found}
        return self._runs

    def run(self, name: str) -> RunFiles | None:
        """Return a run by its id; None if there is none."""
        found = self._runs.get(name)
        if found is None or not found.is_run:
            found = self.runs().get(name)
        return None if found is None else RunFiles(found.root, found.path)  # its config may have changed

    def summary(self, files: RunFiles) -> RunSummary:
        """Return the summary of a run, read again where a file of it changed or its process is gone."""
        key = (files.path, stamp(files), is_gone(files.object("status.json")))
        return self._summaries.get(key, lambda: summarize(RunFiles(files.root, files.path)))

    def log(self, files: RunFiles) -> MetricsLog | None:
        """Return the metrics of a run; None if it has none."""
        path = files.file("metrics.jsonl")
        if path is None:
            return None
        self._logs.trim()
        return self._logs.get(path, lambda: MetricsLog(path))

    def grids(self, files: RunFiles) -> list[SampleGrid]:
        """Return all grids of samples of a run that can be read, in order."""
        found = (self.grid(files, step) for step in grid_steps(files))
        return [grid for grid in found if grid is not None]

    def grid(self, files: RunFiles, step: int) -> SampleGrid | None:
        """Return the grid of a step; None if there is none that can be read."""
        path = grid_file(files, step)
        if path is None:
            return None
        return self._grids.get((path, path.stat().st_mtime_ns), lambda: read_grid(files, step))


def stamp(files: RunFiles) -> tuple[tuple[int, int], ...]:
    """Return a value that changes with the files that a summary is made of."""
    found = (files.file(name) or files.folder(name) for name in _WATCHED)
    states = (path.stat() if path is not None else None for path in found)
    return tuple((state.st_mtime_ns, state.st_size) if state else (0, 0) for state in states)
