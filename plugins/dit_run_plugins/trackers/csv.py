"""csv: a table of all logged values, for spreadsheets."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dit_run.options import bounds
from dit_run.system.durable import write_atomic
from dit_run_plugins.trackers.appended_file import AppendedFile

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Csv", "CsvTracker", "build"]

_STEP = "step"


@dataclass(frozen=True, kw_only=True)
class Csv:
    """A CSV file with a row for each logged step and a column for each value."""

    file: Annotated[str, bounds(pattern=r"^[^/]+$")] = "metrics.csv"
    """Name of the file in the run folder."""


def build(options: Csv, *, run_dir: Path, start_step: int) -> CsvTracker:
    """Return the tracker of a run that has done ``start_step`` steps; rows of later steps are removed."""
    return CsvTracker(run_dir / options.file, start_step)


class CsvTracker:
    """Appends a row for each step; a value with a new name adds a column, for which the file is written again."""

    def __init__(self, path: Path, start_step: int) -> None:
        self.command = f"open {shlex.quote(str(path.absolute()))}"
        self._path = path
        rows = [row for row in _read(path) if _belongs(row, start_step)]
        self._columns = _columns(rows)
        _replace(path, self._columns, rows)
        self._file = AppendedFile(path)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write the row of a step: all of it or, where the disk fails, nothing."""
        row = {_STEP: str(step), **{name: repr(float(value)) for name, value in values.items()}}
        if set(row) <= set(self._columns):
            self._file.write(_lines(self._columns, [row]))
        else:
            self._add_columns(row)

    def image(self, step: int, name: str, image: Image.Image) -> None:
        """Do nothing: a table holds no images."""

    def text(self, step: int, name: str, text: str) -> None:
        """Do nothing: a table holds no texts."""

    def flush(self) -> None:
        self._file.sync()

    def close(self) -> None:
        self._file.close()

    def _add_columns(self, row: dict[str, str]) -> None:
        rows = [*_read(self._path), row]
        columns = _columns(rows, self._columns)
        _replace(self._path, columns, rows)
        self._columns = columns
        self._file.close()
        self._file = AppendedFile(self._path)


def _read(path: Path) -> list[dict[str, str]]:
    """Return the rows, without empty cells."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if name and value} for row in csv.DictReader(file)]


def _belongs(row: Mapping[str, str], start_step: int) -> bool:
    """Return True for a row of a step that the run has done."""
    step = row.get(_STEP, "")
    return step.isdecimal() and int(step) <= start_step


def _columns(rows: Iterable[Mapping[str, str]], first: Iterable[str] = (_STEP,)) -> list[str]:
    return list(dict.fromkeys([*first, *(name for row in rows for name in row)]))


def _lines(columns: Sequence[str], rows: Iterable[Mapping[str, str]], *, header: bool = False) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _replace(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    write_atomic(path, _lines(columns, rows, header=True))
