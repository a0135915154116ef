"""What all benchmarks share: turns, medians, bars, and a report that is printed and, with ``--json``, kept.

A script measures, builds a :class:`Report` and ends with ``raise SystemExit(finish(report, arguments))``, where the
arguments come from :func:`parser`. ``python -m benchmarks`` runs the scripts, keeps each report in
``benchmarks/results/`` and writes them all to ``benchmarks/RESULTS.md``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

Name = TypeVar("Name")

__all__ = [
    "Bar",
    "Report",
    "Table",
    "beside",
    "children",
    "finish",
    "in_turn",
    "markdown",
    "medians",
    "parser",
    "ratio",
]

PACKAGES = (
    "dit-run", "torch", "diffusers", "transformers", "accelerate", "datasets", "numpy", "pillow", "simplejpeg",
)  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """A number that was measured and the limit that it has to keep."""

    what: str
    value: float
    limit: float
    unit: str = "times"
    at_most: bool = False
    """Whether the limit is the most, rather than the least, that is allowed."""

    @property
    def met(self) -> bool:
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def row(self) -> list[str]:
        """What, measured, bar, met."""
        side = "at most" if self.at_most else "at least"
        measured = f"{self.value:.4g} {self.unit}".strip()
        return [self.what, measured, f"{side} {self.limit:g} {self.unit}".strip(), "yes" if self.met else "**no**"]


@dataclass(frozen=True)
class Table:
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass
class Report:
    """What a script found."""

    title: str
    tables: list[Table] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Sentences that the numbers need."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with ``--json``; scripts add options of their own."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--json", type=Path, metavar="FILE", help="keep the report there too")
    return result


def in_turn(
    contestants: Mapping[Name, Callable[[], object]],
    rounds: int,
    *,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, list[float]]:
    """Seconds of each contestant's calls, one of each in every round; ``warm_up`` rounds before are dropped."""
    taken: dict[Name, list[float]] = {name: [] for name in contestants}
    for number in range(-warm_up, rounds):
        for name, call in contestants.items():
            began = clock()
            call()
            if number >= 0:
                taken[name].append(clock() - began)
    return taken


@contextmanager
def beside(target: Callable[..., None], *arguments: object) -> Iterator[Connection]:
    """A process of its own, in which ``target`` gets a link and the arguments; our end of the link. Tell it to end
    before you leave."""
    context = multiprocessing.get_context("spawn")
    link, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    yield link
    process.join()


def children() -> float:
    """A clock for whole processes: processor time of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def medians(taken: Mapping[Name, Sequence[float]]) -> dict[Name, float]:
    return {name: statistics.median(values) for name, values in taken.items()}


def ratio(first: Sequence[float], second: Sequence[float]) -> float:
    """How many times as much the first is as the second: the median over pairs measured one after the other."""
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


def finish(report: Report, arguments: argparse.Namespace) -> int:
    """Print the report and keep it where ``--json`` says. Returns the exit status: 1 where a bar is missed."""
    print(markdown(report))
    if arguments.json is not None:
        bars = [{**asdict(bar), "met": bar.met} for bar in report.bars]
        content = {**asdict(report), "bars": bars, "date": date.today().isoformat(), **surroundings()}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        beside = arguments.json.with_suffix(".partial")
        beside.write_text(json.dumps(content, indent=1))
        beside.replace(arguments.json)
    return int(not all(bar.met for bar in report.bars))


def markdown(report: Report) -> str:
    """The report's tables, bars and notes."""
    tables = [*report.tables]
    if report.bars:
        tables.append(Table(["bar", "measured", "wanted", "met"], [bar.row() for bar in report.bars]))
    return "\n\n".join([*map(_table, tables), *report.notes])


def _table(table: Table) -> str:
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def surroundings() -> dict[str, Any]:
    """The machine, and versions of what was measured."""
    versions = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"machine": _machine(), "versions": versions}


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [_processor(), f"{len(os.sched_getaffinity(0))} cores", f"{memory:.0f} GiB", platform.system()]
    return ", ".join([*parts, *_cards()])


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _cards() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
