"""Measuring in turns, medians, bars, and the report of a benchmark.

A script measures, builds a :class:`Report` and ends with ``raise SystemExit(finish(report, arguments))``, where the
arguments come from :func:`parser`. ``python -m benchmarks`` runs the scripts, stores each report in
``benchmarks/results/`` and writes all of them to ``benchmarks/RESULTS.md``.
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
    "child_process",
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
    """A measured number and its limit."""

    what: str
    value: float
    limit: float
    unit: str = "times"
    at_most: bool = False
    """True for an upper limit, False for a lower one."""

    @property
    def met(self) -> bool:
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def row(self) -> list[str]:
        """Return the cells of a table row: name, measured value, limit, yes or no."""
        side = "at most" if self.at_most else "at least"
        measured = f"{self.value:.4g} {self.unit}".strip()
        return [self.what, measured, f"{side} {self.limit:g} {self.unit}".strip(), "yes" if self.met else "**no**"]


@dataclass(frozen=True)
class Table:
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass
class Report:
    """The result of a script."""

    title: str
    tables: list[Table] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Paragraphs that explain the numbers."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return an argument parser with ``--json``; scripts add their own options."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--json", type=Path, metavar="FILE", help="also write the report to this file")
    return result


def in_turn(
    contestants: Mapping[Name, Callable[[], object]],
    rounds: int,
    *,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, list[float]]:
    """Return the seconds of each contestant's calls, one call per round, without the first ``warm_up`` rounds."""
    taken: dict[Name, list[float]] = {name: [] for name in contestants}
    for number in range(-warm_up, rounds):
        for name, call in contestants.items():
            began = clock()
            call()
            if number >= 0:
                taken[name].append(clock() - began)
    return taken


@contextmanager
def child_process(target: Callable[..., None], *arguments: object) -> Iterator[Connection]:
    """Start a process that calls ``target`` with a connection and the arguments; yield the other end.

    Ask the process to end before you leave the context.
    """
    context = multiprocessing.get_context("spawn")
    link, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    yield link
    process.join()


def children() -> float:
    """Return the processor time of all child processes that have ended, as a clock for whole processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def medians(taken: Mapping[Name, Sequence[float]]) -> dict[Name, float]:
    return {name: statistics.median(values) for name, values in taken.items()}


def ratio(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the median of first ÷ second over pairs that were measured one after the other."""
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


def finish(report: Report, arguments: argparse.Namespace) -> int:
    """Print the report, write it to the file of ``--json``, and return the exit status: 1 if a bar is missed."""
    print(markdown(report))
    if arguments.json is not None:
        bars = [{**asdict(bar), "met": bar.met} for bar in report.bars]
        content = {**asdict(report), "bars": bars, "date": date.today().isoformat(), **surroundings()}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        partial = arguments.json.with_suffix(".partial")
        partial.write_text(json.dumps(content, indent=1))
        partial.replace(arguments.json)
    return int(not all(bar.met for bar in report.bars))


def markdown(report: Report) -> str:
    """Return the report's tables, bars and notes as Markdown."""
    tables = [*report.tables]
    if report.bars:
        tables.append(Table(["bar", "measured", "required", "met"], [bar.row() for bar in report.bars]))
    return "\n\n".join([*map(_table, tables), *report.notes])


def _table(table: Table) -> str:
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def surroundings() -> dict[str, Any]:
    """Return the machine and the versions of the measured packages."""
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
