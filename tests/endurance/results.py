"""What the parts gave, kept in files, so that several processes may share the work."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from dit_run.runs.provenance import processor, versions

__all__ = ["Ledger", "Results", "add_minutes", "forget", "minutes", "table"]

_MINUTES = "minutes.json"
_KEPT_EVERY = 5.0
"""Seconds."""


@dataclass
class Results:
    """Results of one part, or of a share of it. A case that passed stays so."""

    cases: dict[str, list[str]] = field(default_factory=dict)
    """What was wrong, by case."""
    seconds: float = 0.0
    date: str = ""
    """Of the last case."""
    total: int = 0
    """How many cases the part has; 0 where that is not known yet."""

    @classmethod
    def read(cls, folder: Path) -> Results:
        """Those of all shares, each in a folder of its own."""
        found = cls()
        for path in sorted(folder.glob("*/results.json")):
            share = cls(**json.loads(path.read_bytes()))
            passed = {case: faults for case, faults in found.cases.items() if not faults}
            found.cases |= {**share.cases, **passed}
            found.seconds += share.seconds
            found.date = max(found.date, share.date)
            found.total = max(found.total, share.total)
        return found

    def passed(self, case: str) -> bool:
        return self.cases.get(case) == []

    @property
    def failed(self) -> int:
        return sum(bool(faults) for faults in self.cases.values())

    def count(self, each: int, unit: str) -> str:
        """How many there are, of how many, where a case stands for so many of what is counted."""
        done = each * len(self.cases)
        of = "" if len(self.cases) == self.total else f" of {each * self.total or 'more'}"
        return f"{done}{of} {unit}".strip()


@dataclass
class Ledger:
    """Results on their way into a file."""

    path: Path
    results: Results = field(default_factory=Results)
    _kept_at: float = 0.0

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """With what was kept there before."""
        return cls(path, Results(**json.loads(path.read_bytes()))) if path.exists() else cls(path)

    def enter(self, case: str, faults: list[str], seconds: float) -> None:
        self.results.cases[case] = faults
        self.results.seconds += seconds
        self.results.date = datetime.now(UTC).date().isoformat()
        if faults or time.monotonic() - self._kept_at > _KEPT_EVERY:
            self.keep()

    def keep(self) -> None:
        self.path.write_text(json.dumps(asdict(self.results), indent=1))
        self._kept_at = time.monotonic()


def minutes(folder: Path) -> float:
    """By the clock, of all calls of the command that worked on these results."""
    path = folder / _MINUTES
    return float(json.loads(path.read_bytes())) if path.exists() else 0.0


def add_minutes(folder: Path, more: float) -> None:
    (folder / _MINUTES).write_text(json.dumps(minutes(folder) + more))


def forget(folder: Path) -> None:
    """Remove all results that are kept in a folder."""
    for path in [*folder.glob("*/*/results.json"), *folder.glob(_MINUTES)]:
        path.unlink()


def table(parts: Iterable[tuple[str, str, int, Results]], elapsed: float) -> str:
    """Markdown: for each part its name, what its cases count, how many of them a case stands for, and its results;
    ``elapsed`` is how many minutes all took by the clock."""
    found = [(name, unit, each, results) for name, unit, each, results in parts if results.cases]
    lines = [
        f"{_machine()}.", "",
        "| part | cases | failed | minutes | date |", "|---|---:|---:|---:|---|",
        *(
            f"| {name} | {results.count(each, unit)} | {results.failed} | {results.seconds / 60:.1f} | {results.date} |"
            for name, unit, each, results in found
        ),
        f"| all | | {sum(results.failed for *_, results in found)} | "
        f"{sum(results.seconds for *_, results in found) / 60:.1f} | |",
        "", f"{elapsed:.0f} minutes by the clock.",
    ]  # fmt: skip
    return "\n".join(lines)


def _machine() -> str:
    found = versions()
    libraries = ", ".join(f"{name} {found[name]}" for name in ("dit-run", "torch", "python"))
    return f"{libraries}; {processor()}, {os.cpu_count()} cores"
