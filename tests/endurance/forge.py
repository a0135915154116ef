"""Runs of the scenario as forks of a warm process, with a fault at a chosen system call of one process."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import IO

__all__ = ["Ended", "Fault", "Forge", "Running", "build_shim"]

_PAUSE = 0.05
"""Seconds between two looks."""
HERE = Path(__file__).resolve().parent
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


class Fault(IntEnum):
    """What the shim does; the numbers are those of shim.c."""

    NONE = 0
    KILL = 1
    TEAR = 2
    FAIL_ONCE = 3
    FAIL_FROM = 4
    STOP = 5


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    statuses: tuple[int, ...]
    """Exit status of each process, or minus the signal, by rank."""
    output: str

    @property
    def status(self) -> int:
        """That of the first process."""
        return self.statuses[0]


def build_shim(folder: Path) -> Path:
    """Compile the shim. Raises FileNotFoundError without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise FileNotFoundError("no C compiler: the fault tests need cc or gcc")
    library = folder / "shim.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, HERE / "shim.c", "-ldl"], check=True)
    return library


class Forge:
    """The warm process. One run at a time."""

    def __init__(self, folder: Path) -> None:
        """``folder`` holds the shim and the outputs; it is made."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        shim = build_shim(folder)
        environment = {**os.environ, **ONE_THREAD, "LD_PRELOAD": str(shim), "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "endurance.warm", str(shim)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=HERE.parent,
        )  # fmt: skip
        assert self._process.stdout is not None and self._process.stdin is not None
        self._answers, self._requests = self._process.stdout, self._process.stdin
        if self._answers.readline() != "ready\n":
            raise RuntimeError(f"the warm process ended with status {self._process.wait()}")

    def __enter__(self) -> Forge:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._requests.close()
        self._process.wait(60)

    def start(
        self,
        arguments: list[str],
        folder: Path,
        fault: Fault = Fault.NONE,
        point: int = 0,
        *,
        error: int = errno.ENOSPC,
        rank: int = 0,
        logs: Sequence[Path] = (),
        processes: int = 1,
    ) -> Running:
        """Begin ``dit-run ARGUMENTS`` with a fault at the given call of process ``rank`` under ``folder``.

        The calls of each process are written to one of the ``logs``. Where one process fails, the others get SIGTERM.
        """
        output = self.folder / "output.txt"
        output.unlink(missing_ok=True)
        request = {
            "arguments": arguments, "folder": str(folder), "mode": int(fault), "point": point, "error": error,
            "rank": rank, "logs": [*map(str, logs)], "processes": processes, "output": str(output),
            "directory": str(self.folder),
        }  # fmt: skip
        self._requests.write(json.dumps(request) + "\n")
        self._requests.flush()
        return Running(int(self._answers.readline()), output, self._answers)


@dataclass(frozen=True)
class Running:
    """A run that began: its first process, which leads a group of them."""

    pid: int
    output: Path
    answers: IO[str]

    def wait(self) -> Ended:
        statuses = json.loads(self.answers.readline())
        return Ended(tuple(statuses), self.output.read_text(errors="replace"))

    def left(self, seconds: float) -> list[int]:
        """Processes of its group that are there after so many seconds, in which this process ran as well."""
        for _ in range(round(seconds / _PAUSE)):
            if not self._group():
                return []
            time.sleep(_PAUSE)
        return self._group()

    def _group(self) -> list[int]:
        return [pid for pid in _pids() if _group_of(pid) == self.pid]


def _pids() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _group_of(pid: int) -> int | None:
    """None for a process that ended, whether it was waited for or not."""
    try:
        state, _, group = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:3]
    except OSError:
        return None
    return None if state in "ZX" else int(group)
