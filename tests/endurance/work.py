"""The endurance run's parts, and the work on them that one process does."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from . import grid, jobs, machines, parts, sharded, signals
from .forge import ONE_THREAD, Forge
from .parts import Case, Workshop
from .results import Ledger, Results

__all__ = ["PARTS", "Part", "Work"]


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
    alone: bool = False
    """Whether its cases have deadlines, and so nothing runs beside them."""

    @property
    def folder(self) -> str:
        return self.name.replace(",", "").replace(" ", "-")


PARTS = (
    Part("kill at every call", parts.kill_points, 4),
    Part("kill inside every write", parts.torn_writes, 4),
    Part("kill at every call, saves in a thread", parts.kills_of_async_saves, 6),
    Part("full and failing disk at every call", parts.disk_faults, 5),
    Part("failing disk at every call, saves in a thread", parts.async_disk_faults, 10),
    Part("stop while the disk refuses the checkpoint", parts.refused_stops, 8),
    Part("power loss after every call", parts.power_losses),
    Part("random SIGKILL", signals.random_kills, 10, "signals", signals.PER_CHAIN),
    Part("random SIGTERM", signals.random_stops, 10, "signals", signals.PER_CHAIN),
    Part("stop at each step, in one process", grid.stops, 6),
    Part("stop under torchrun", grid.processes, 3),
    Part("stop with sharded weights", grid.sharded, 2),
    Part("kill of a process at every call of a sharded save", sharded.kills, 24),
    Part("full and failing disk of one process, sharded", sharded.disk_faults, 40),
    Part("stop at every call of a sharded save in threads", sharded.stops, 16),
    Part("flipped byte in every file of a sharded save", sharded.flipped_bytes, 8),
    Part("continued by other processes", grid.other_processes),
    Part("elastic_exact over 1, 4, 2, 1 processes", grid.elastic_chain),
    Part("elastic_exact with sharded weights", grid.sharded_elastic_chains, 3),
    Part("a killed or frozen process ends the job", jobs.lost_processes, alone=True),
    Part("a killed machine or lone process is told in 10 s", machines.lost_machines, 2, alone=True),
    Part("machines with folders of their own are refused", machines.separate_folders),
    Part("each saved item corrupted shows", grid.corrupted_items),
)


@dataclass(frozen=True)
class Work:
    """What one of several processes has to do."""

    folder: Path
    end: float
    """No case begins after it, on the monotonic clock."""
    parts: Sequence[Part]
    sparse: bool
    busy: float
    share: int = 1
    shares: int = 1

    def perform(self) -> None:
        """Run the cases of this share that have not passed yet."""
        os.environ.update(ONE_THREAD, XDG_CACHE_HOME=str(self.folder / "cache"))
        os.sched_getaffinity = lambda pid: set(range(8))  # type: ignore[assignment,misc]  # as in warm.py
        with TemporaryDirectory() as scratch, Forge(Path(scratch)) as forge:
            for part in self.parts:
                if time.monotonic() < self.end:  # a part may need runs to know its cases
                    self._perform(part, forge)

    def _perform(self, part: Part, forge: Forge) -> None:
        place = self.folder / part.folder / f"{self.share}-of-{self.shares}"
        place.mkdir(parents=True, exist_ok=True)
        before, ledger, chosen = Results.read(place.parent), Ledger.open(place / "results.json"), 0
        for index, (name, case) in enumerate(part.cases(Workshop(place, forge, busy=self.busy))):
            ledger.results.total = max(ledger.results.total, index + 1)
            if self.sparse and index % part.sparse:
                continue
            chosen += 1
            if chosen % self.shares != self.share % self.shares or before.passed(name) or time.monotonic() > self.end:
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
