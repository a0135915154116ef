"""``python -m tests.endurance``: everything that a run must survive, at most an hour; resumable.

Results are kept in the folder given; cases that passed are not run again, until ``--again``. Exit status 1 where any
case failed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import grid, jobs, parts, signals
from .forge import ONE_THREAD, Forge
from .parts import Case, Workshop


@dataclass(frozen=True)
class Part:
    """Cases with how many of them CI runs: every n-th; 0 leaves the part out."""

    name: str
    cases: Callable[[Workshop], Iterator[Case]]
    sparse: int = 1


PARTS = (
    Part("kill at every call", parts.kill_points, 4),
    Part("kill inside every write", parts.torn_writes, 4),
    Part("full and failing disk at every call", parts.disk_faults, 5),
    Part("power loss after every call", parts.power_losses),
    Part("random SIGKILL", signals.random_kills, 10),
    Part("random SIGTERM", signals.random_stops, 10),
    Part("stop at each step, in one process", grid.stops, 6),
    Part("stop under torchrun", grid.processes, 3),
    Part("continued by other processes", grid.other_processes),
    Part("elastic_exact over 1, 4, 2, 1 processes", grid.elastic_chain),
    Part("a killed or frozen process ends the job", jobs.lost_processes),
    Part("each saved item corrupted shows", grid.corrupted_items),
)


def main() -> int:
    arguments = _arguments()
    folder = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(ONE_THREAD, XDG_CACHE_HOME=str(folder / "cache"))
    book = _Book(folder / "results.json", again=arguments.again)
    end = time.monotonic() + 60 * arguments.minutes
    with Forge(folder / "forge") as forge:
        for part in PARTS:
            if arguments.part is None or arguments.part in part.name:
                _run(part, Workshop(folder, forge), book, end, sparse=arguments.sparse)
    return book.report()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.endurance", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("endurance-results"), help="where runs and results go")
    parser.add_argument("--part", help="only parts whose name has this in it")
    parser.add_argument("--sparse", action="store_true", help="the selection for CI: every n-th case")
    parser.add_argument("--again", action="store_true", help="forget earlier results")
    parser.add_argument("--minutes", type=float, default=60, help="begin no case after so many")
    return parser.parse_args()


def _run(part: Part, workshop: Workshop, book: _Book, end: float, *, sparse: bool) -> None:
    for index, (name, case) in enumerate(part.cases(workshop)):
        if time.monotonic() > end:
            break
        if (sparse and index % part.sparse) or book.passed(part.name, name):
            continue
        began = time.monotonic()
        faults = _outcome(case)
        book.enter(part.name, name, faults, time.monotonic() - began)


def _outcome(case: Callable[[], list[str]]) -> list[str]:
    try:
        return case()
    except Exception:  # noqa: BLE001  a case that breaks has failed, and the others are still to be run
        return [traceback.format_exc()]


class _Book:
    """Results by part and case, kept in a file."""

    def __init__(self, path: Path, *, again: bool) -> None:
        self._path = path
        self._results: dict[str, dict[str, list[str]]] = {}
        self._seconds: dict[str, float] = {}
        if path.exists() and not again:
            kept = json.loads(path.read_text())
            self._results, self._seconds = kept["results"], kept["seconds"]
        self._kept_at = time.monotonic()

    def passed(self, part: str, case: str) -> bool:
        return self._results.get(part, {}).get(case) == []

    def enter(self, part: str, case: str, faults: list[str], seconds: float) -> None:
        self._results.setdefault(part, {})[case] = faults
        self._seconds[part] = self._seconds.get(part, 0.0) + seconds
        for fault in faults:
            print(f"FAILED {part}: {case}: {fault}", flush=True)
        if faults or time.monotonic() - self._kept_at > 5:
            self.keep()

    def keep(self) -> None:
        self._path.write_text(json.dumps({"results": self._results, "seconds": self._seconds}, indent=1))
        self._kept_at = time.monotonic()

    def report(self) -> int:
        """Print a table of all results; 1 where something failed."""
        self.keep()
        print(f"{'part':<42} {'cases':>6} {'failed':>6} {'minutes':>8}")
        for part, cases in self._results.items():
            failed = sum(bool(faults) for faults in cases.values())
            print(f"{part:<42} {len(cases):>6} {failed:>6} {self._seconds[part] / 60:>8.1f}")
        return int(any(faults for cases in self._results.values() for faults in cases.values()))


if __name__ == "__main__":
    sys.exit(main())
