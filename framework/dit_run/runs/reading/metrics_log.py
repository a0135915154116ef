"""Values of a metrics file in columns, read on as the file grows."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

try:
    from orjson import loads as _loads
except ModuleNotFoundError:  # it is a part of the extra ``view``
    _loads = json.loads  # type: ignore[assignment]

__all__ = ["MetricsLog", "Series"]

_CHUNK = 2**20
"""Bytes that are read at a time."""
_LONGEST = 4 * 2**20
"""Longest line that is read (bytes); longer ones are no metrics."""
_MOST_NAMES = 2000


@dataclass(frozen=True)
class Series:
    """The values of one name, in the order of the file."""

    steps: NDArray[np.float64]
    times: NDArray[np.float64]
    """Seconds since 1970; NaN where a line has none."""
    values: NDArray[np.float32]


@dataclass
class _Column:
    rows: array[int] = field(default_factory=lambda: array("I"))
    values: array[float] = field(default_factory=lambda: array("f"))


@dataclass
class _Known:
    """The lines of a file that were read so far, and the place in it."""

    offset: int = 0
    rest: bytes = b""
    """Beginning of a line whose end is not there yet."""
    skipping: bool = False
    """True in a line that is too long."""
    steps: array[float] = field(default_factory=lambda: array("d"))
    times: array[float] = field(default_factory=lambda: array("d"))
    columns: dict[str, _Column] = field(default_factory=dict)


class MetricsLog:
    """A ``metrics.jsonl``, of which each call of :meth:`read` reads what is new.

    A last line without its end waits for the rest of it. A file that was replaced or cut, as a run does that continues,
    is read again from its beginning. Values that are no numbers are left out; NaN and infinities are values.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.total = 0
        """Size of the file (bytes)."""
        self._lock = threading.Lock()
        self._file: tuple[int, int] | None = None
        self._known = _Known()

    @property
    def names(self) -> list[str]:
        return list(self._known.columns)

    @property
    def nbytes(self) -> int:
        """Memory of the columns (bytes)."""
        return 16 * len(self._known.steps) + sum(8 * len(column.rows) for column in self._known.columns.values())

    @property
    def progress(self) -> float:
        """Share of the file that was read."""
        return self._known.offset / self.total if self.total else 1.0

    def read(self, seconds: float = math.inf, *, now: Callable[[], float] = time.monotonic) -> bool:
        """Read on to the end, or until the time is over; return True if all was read."""
        until = now() + seconds
        with self._lock:
            try:
                with self.path.open("rb") as file:
                    self._follow(file)
                    while self._known.offset < self.total and now() < until:
                        self._add(file.read(_CHUNK))
            except OSError:
                self._known = _Known()
                self.total = 0
            return self._known.offset >= self.total

    def series(self, name: str) -> Series:
        """Return the values of a name so far; empty for an unknown one."""
        with self._lock:
            column = self._known.columns.get(name)
            if column is None:
                return Series(np.empty(0), np.empty(0), np.empty(0, np.float32))
            rows = np.array(column.rows, dtype=np.int64)
            steps, times = np.frombuffer(self._known.steps)[rows], np.frombuffer(self._known.times)[rows]
            return Series(steps, times, np.array(column.values, dtype=np.float32))

    def _follow(self, file: IO[bytes]) -> None:
        """Set the size and the place in the file; begin again if it is another file or shorter."""
        status = os.fstat(file.fileno())
        identity = (status.st_dev, status.st_ino)
        if identity != self._file or status.st_size < self._known.offset:
            self._known = _Known()
        self._file, self.total = identity, status.st_size
        file.seek(self._known.offset)

    def _add(self, chunk: bytes) -> None:
        if not chunk:
            self.total = self._known.offset
            return
        self._known.offset += len(chunk)
        whole, newline, rest = (self._known.rest + chunk).rpartition(b"\n")
        self._known.rest = rest
        if newline:
            lines = whole.split(b"\n")
            self._add_lines(lines[1:] if self._known.skipping else lines)
            self._known.skipping = False
        if len(self._known.rest) > _LONGEST:
            self._known.rest, self._known.skipping = b"", True

    def _add_lines(self, lines: list[bytes]) -> None:
        for row in _rows(lines):
            if isinstance(row, dict):
                self._add_row(row)

    def _add_row(self, row: dict[str, Any]) -> None:
        step, when = row.pop("step", None), row.pop("time", None)
        if step.__class__ not in (int, float) or not -(2.0**53) < step < 2.0**53:
            return
        place, columns = len(self._known.steps), self._known.columns
        self._known.steps.append(step)
        self._known.times.append(when if when.__class__ in (int, float) and abs(when) < 1e300 else math.nan)
        for name, value in row.items():
            if value.__class__ is float or value.__class__ is int:
                column = columns.get(name)
                if column is None:
                    if len(columns) >= _MOST_NAMES:
                        continue
                    column = columns[name] = _Column()
                column.rows.append(place)
                column.values.append(value if abs(value) < 3e38 or value.__class__ is float else math.inf)


def _rows(lines: list[bytes]) -> list[Any]:
    """Return the values of lines: all at once where each is JSON, as they are nearly always, else one by one."""
    try:
        return list(_loads(b"[" + b",".join(lines) + b"]"))
    except (ValueError, RecursionError):
        return [value for line in lines if (value := _row(line)) is not None]


def _row(line: bytes) -> Any:
    try:
        return json.loads(line)  # takes NaN, which JSON does not have and Python writes
    except (ValueError, RecursionError):
        return None
