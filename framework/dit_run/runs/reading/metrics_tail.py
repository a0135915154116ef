"""The end of a metrics file: the last values, without reading the rest of it."""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["MetricsTail", "read_tail"]

_TAIL = 32 * 2**10
"""Bytes at the end of the file of which all lines are read."""
_SEARCHED = 2 * 2**20
"""Bytes at the end of the file in which values that are logged rarely are searched."""


@dataclass(frozen=True)
class MetricsTail:
    """The last lines of a metrics file."""

    step: int = 0
    time: float = 0.0
    """Seconds since 1970; 0 where no line has a time."""
    seconds_per_step: float | None = None
    """Median over the last lines, so that a pause of the run does not count."""
    latest: Mapping[str, float] = field(default_factory=dict)
    """The last value of each name that was found."""


def read_tail(path: Path | None, prefixes: Sequence[str] = ()) -> MetricsTail:
    """Return the last values of a metrics file, and the last ones whose name begins with each of the prefixes."""
    try:
        if path is None or not path.stat().st_size:
            return MetricsTail()
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            rows = _last_rows(content)
            rare = [row for prefix in prefixes if (row := _last_with(content, prefix)) is not None]
    except (OSError, ValueError):
        return MetricsTail()
    rare.sort(key=lambda row: row["step"])
    latest = {name: value for row in [*rare, *rows] for name, value in row.items() if name not in ("step", "time")}
    step = rows[-1]["step"] if rows else 0
    times = [row for row in rows if "time" in row]
    return MetricsTail(int(step), times[-1]["time"] if times else 0.0, _pace(times), latest)


def _last_rows(content: mmap.mmap) -> list[dict[str, float]]:
    start = max(0, len(content) - _TAIL)
    lines = content[start:].split(b"\n")[:-1]  # the last line is not whole before its end is written
    return [row for line in lines[1 if start else 0 :] if (row := _numbers(line)) is not None]


def _last_with(content: mmap.mmap, prefix: str) -> dict[str, float] | None:
    """Return the last line that has a name with this prefix."""
    lowest = max(0, len(content) - _SEARCHED)
    place = content.rfind(json.dumps(prefix)[:-1].encode(), lowest)
    if place < 0:
        return None
    start, end = content.rfind(b"\n", lowest, place) + 1, content.find(b"\n", place)
    return _numbers(content[start:end]) if end >= 0 and (start or not lowest) else None


def _numbers(line: bytes) -> dict[str, float] | None:
    """Return the numbers of a line, None for a line without a step."""
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    found = {name: number for name, number in value.items() if isinstance(number, int | float)}
    return found if "step" in found else None


def _pace(rows: Sequence[Mapping[str, float]]) -> float | None:
    """Return the seconds per step; None where it is not known."""
    paces = [
        (after["time"] - before["time"]) / (after["step"] - before["step"])
        for before, after in pairwise(rows)
        if after["step"] > before["step"] and after["time"] >= before["time"]
    ]
    return median(paces) if paces else None
