"""The section of ``benchmarks/RESULTS.md`` with the numbers of a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..measuring import Report, Table, markdown, surroundings
from .trial import Values

__all__ = ["report_of", "section_of", "write_section"]

SECTION = "## On a GPU"
LONG_RUNS = "## Results of long runs"


def report_of(found: Mapping[str, Values]) -> str:
    """Return the section: a table of all parts, and a table of each part whose values are rows."""
    place = surroundings()
    versions = ", ".join(f"{name} {version}" for name, version in place["versions"].items())
    head = f"`python -m benchmarks.gpu`. Machine: {place['machine']}. Versions: {versions}."
    rows = [[name, _line(values)] for name, values in found.items()]
    tables = [Table(["part", "measured"], rows)]
    tables += [_table(name, values) for name, values in found.items() if _rows(values)]
    return f"{SECTION}\n\n{head}\n\n{markdown(Report('', tables))}\n"


def _rows(values: Values) -> dict[str, Mapping[str, Any]]:
    return {name: row for name, row in values.items() if isinstance(row, Mapping)}


def _line(values: Values) -> str:
    shown = [f"{key} {_shown(value)}" for key, value in values.items() if key != "seconds" and key not in _rows(values)]
    return "; ".join(shown) or "see below"


def _table(name: str, values: Values) -> Table:
    rows = _rows(values)
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    return Table(
        [name, *columns], [[row, *(_shown(cells.get(column)) for column in columns)] for row, cells in rows.items()]
    )


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def section_of(page: Path) -> str | None:
    """Return the section of a page, or None."""
    _, found, rest = (page.read_text() if page.exists() else "").partition(SECTION)
    return found + rest.split("\n## ")[0] if found else None


def write_section(page: Path, section: str) -> None:
    """Replace the section of the page, or add it before that of long runs; begin the page if there is none."""
    text = page.read_text() if page.exists() else ""
    before, found, rest = text.partition(SECTION)
    if not found:
        before, found, rest = text.partition(LONG_RUNS)
        page.write_text(f"{before}{section}" + (f"\n{found}{rest}" if found else ""))
        return
    following = rest.find("\n## ")
    page.write_text(before + section + (rest[following:] if following >= 0 else ""))
