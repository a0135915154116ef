"""``python -m tests.endurance``: everything that a run must survive, at most an hour; resumable.

Results are kept in the folder given; cases that passed are not run again, until ``--again``. Several processes may
work in one folder, on different parts or shares. Exit status 1 where any case failed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from . import grid, jobs, parts, signals
from .forge import ONE_THREAD, Forge
from .parts import Case, Workshop
from .results import Ledger, Results, table


@dataclass(frozen=True)
class Part:
    """Cases with how many of them CI runs: every n-th."""

    name: str
    cases: Callable[[Workshop], Iterator[Case]]
    sparse: int = 1
    unit: str = ""
    """What is counted, where that is not cases."""
    each: int = 1
    """How many of them a case has."""

    @property
    def folder(self) -> str:
        return self.name.replace(",", "").replace(" ", "-")


PARTS = (
    Part("kill at every call", parts.kill_points, 4),
    Part("kill inside every write", parts.torn_writes, 4),
    Part("full and failing disk at every call", parts.disk_faults, 5),
    Part("stop while the disk refuses the checkpoint", parts.refused_stops, 8),
    Part("power loss after every call", parts.power_losses),
    Part("random SIGKILL", signals.random_kills, 10, "signals", signals.PER_CHAIN),
    Part("random SIGTERM", signals.random_stops, 10, "signals", signals.PER_CHAIN),
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
    if arguments.again:
        for path in folder.glob("*/*/results.json"):
            path.unlink()
    os.environ.update(ONE_THREAD, XDG_CACHE_HOME=str(folder / "cache"))
    os.sched_getaffinity = lambda pid: set(range(8))  # type: ignore[assignment,misc]  # as in warm.py
    end = time.monotonic() + 60 * arguments.minutes
    with TemporaryDirectory() as scratch, Forge(Path(scratch)) as forge:
        for part in PARTS:
            if any(words in part.name for words in arguments.part or [""]):
                place = folder / part.folder / arguments.share.replace("/", "-of-")
                place.mkdir(parents=True, exist_ok=True)
                workshop = Workshop(place, forge, busy=arguments.busy)
                _run(part, workshop, end, every=part.sparse if arguments.sparse else 1, share=arguments.share)
    return _report(folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.endurance", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("endurance-results"), help="where runs and results go")
    parser.add_argument("--part", action="append", help="only parts whose name has this in it; may be repeated")
    parser.add_argument("--share", default="1/1", help="1/3: this is the first of three processes that share the work")
    parser.add_argument("--sparse", action="store_true", help="the selection for CI: every n-th case")
    parser.add_argument("--busy", type=float, default=0, help="seconds added to deadlines, where other work goes on")
    parser.add_argument("--again", action="store_true", help="forget earlier results")
    parser.add_argument("--minutes", type=float, default=60, help="begin no case after so many")
    return parser.parse_args()


def _run(part: Part, workshop: Workshop, end: float, *, every: int, share: str) -> None:
    number, shares = map(int, share.split("/"))
    before = Results.read(workshop.folder.parent)
    ledger = Ledger.open(workshop.folder / "results.json")
    chosen = 0
    for index, (name, case) in enumerate(part.cases(workshop)):
        ledger.results.total = max(ledger.results.total, index + 1)
        if index % every:
            continue
        chosen += 1
        if chosen % shares != number % shares or before.passed(name) or time.monotonic() > end:
            continue
        began = time.monotonic()
        faults = _outcome(case)
        for fault in faults:
            print(f"FAILED {part.name}: {name}: {fault}", flush=True)
        ledger.enter(name, faults, time.monotonic() - began)
    ledger.keep()


def _outcome(case: Callable[[], list[str]]) -> list[str]:
    try:
        return case()
    except Exception:  # noqa: BLE001  a case that breaks has failed, and the others are still to be run
        return [traceback.format_exc()]


def _report(folder: Path) -> int:
    """Print a table of all results; 1 where something failed."""
    found = [(part, Results.read(folder / part.folder)) for part in PARTS]
    print(table((part.name, part.unit, part.each, results) for part, results in found))
    return int(any(results.failed for _, results in found))


if __name__ == "__main__":
    sys.exit(main())
