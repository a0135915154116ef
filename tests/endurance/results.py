"""What the parts gave: one file for each, so that several processes may work on different ones."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from dit_run.provenance import processor, versions

__all__ = ["Results", "table"]

_KEPT_EVERY = 5.0
"""Seconds."""


@dataclass
class Results:
    """The results of one part. A case that passed stays so; ``complete`` says that no case was left out."""

    path: Path
    cases: dict[str, list[str]] = field(default_factory=dict)
    """What was wrong, by case."""
    seconds: float = 0.0
    date: str = ""
    """Of the last case."""
    complete: bool = False
    _kept_at: float = 0.0

    @classmethod
    def read(cls, path: Path) -> Results:
        """Those kept in a file; none where there is none."""
        return cls(path, **json.loads(path.read_bytes())) if path.exists() else cls(path)

    def passed(self, case: str) -> bool:
        return self.cases.get(case) == []

    @property
    def failed(self) -> int:
        return sum(bool(faults) for faults in self.cases.values())

    def enter(self, case: str, faults: list[str], seconds: float) -> None:
        self.cases[case] = faults
        self.seconds += seconds
        self.date = datetime.now(UTC).date().isoformat()
        if faults or time.monotonic() - self._kept_at > _KEPT_EVERY:
            self.keep()

    def keep(self) -> None:
        kept = {name: value for name, value in asdict(self).items() if name not in ("path", "_kept_at")}
        self.path.write_text(json.dumps(kept, indent=1))
        self._kept_at = time.monotonic()


def table(parts: Iterable[tuple[str, str, int, Results]]) -> str:
    """Markdown: for each part its name, what its cases count, how many of them a case stands for, and its results."""
    found = [(name, unit, each, results) for name, unit, each, results in parts if results.cases]
    lines = [
        f"{_machine()}.", "",
        "| part | cases | failed | minutes | date |", "|---|---:|---:|---:|---|",
        *(
            f"| {name}{'' if results.complete else ' (not all)'} | {f'{each * len(results.cases)} {unit}'.strip()} | "
            f"{results.failed} | {results.seconds / 60:.1f} | {results.date} |"
            for name, unit, each, results in found
        ),
        f"| all | | {sum(results.failed for *_, results in found)} | "
        f"{sum(results.seconds for *_, results in found) / 60:.1f} | |",
    ]  # fmt: skip
    return "\n".join(lines)


def _machine() -> str:
    found = versions()
    libraries = ", ".join(f"{name} {found[name]}" for name in ("dit-run", "torch", "python"))
    return f"{libraries}; {processor()}, {os.cpu_count()} cores"
