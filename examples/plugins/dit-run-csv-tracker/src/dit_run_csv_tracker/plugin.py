"""The tracker ``table``: one row per logged step, one column per value."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dit_run import Component, Kind, hookimpl
from dit_run.options import bounds

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, kw_only=True)
class Table:
    """Writes all logged values to a CSV file, for a spreadsheet."""

    file: Annotated[str, bounds(min_length=1)] = "metrics.csv"
    """Name of the file in the run folder."""


class CsvTracker:
    """Keeps all rows in memory, because a new value adds a column to each of them."""

    def __init__(self, path: Path, start_step: int) -> None:
        self.command = f"open {path}"
        self._path = path
        self._rows: dict[int, dict[str, str]] = {}
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= start_step]
            self._rows = {int(row["step"]): row for row in rows}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        row = self._rows.setdefault(step, {"step": str(step)})
        row.update({name: repr(float(value)) for name, value in values.items()})

    def image(self, step: int, name: str, image: Image.Image) -> None: ...

    def text(self, step: int, name: str, text: str) -> None: ...

    def flush(self) -> None:
        """Write a new file and put it in place of the old one, so that the file is complete at any time."""
        columns = dict.fromkeys(name for row in self._rows.values() for name in row)
        complete = self._path.with_name(self._path.name + ".new")
        with complete.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(columns))
            writer.writeheader()
            writer.writerows(row for _, row in sorted(self._rows.items()))
        complete.replace(self._path)

    def close(self) -> None:
        self.flush()


def build(options: Table, *, run_dir: Path, start_step: int) -> CsvTracker:
    return CsvTracker(run_dir / options.file, start_step)


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.TRACKER, "table", Table, build)]
