"""Jobs of several processes that lose one of them: they end, soon, and leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from .forge import ONE_THREAD
from .parts import Case, Workshop
from .scenario import CONFIG, overrides

__all__ = ["QUIET", "Job", "lost_processes", "words"]

TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m")
PATIENCE = 15
"""Seconds that processes wait for a frozen one, and have to start on a busy machine."""
_MARK = "DIT_RUN_TEST_JOB"
QUIET = ("sampling.every_n_steps=null", "validation.every_n_steps=null", "trackers=[]")


def lost_processes(workshop: Workshop) -> Iterator[Case]:
    """Killed and frozen ranks, loading processes, a trainer and a launcher: the job ends in time."""
    busy = workshop.busy
    patience = PATIENCE + busy / 2
    yield "killed rank", partial(_lost_rank, workshop, signal.SIGKILL, 60, 5 + busy)
    yield "frozen rank", partial(_lost_rank, workshop, signal.SIGSTOP, patience, patience + 35 + busy)
    killed, frozen = "a worker was killed", f"no worker answered for {patience:g} seconds"
    yield "killed loading process", partial(_lost_loader, workshop, signal.SIGKILL, 60, 10 + busy, killed)
    yield (
        "frozen loading process",
        partial(_lost_loader, workshop, signal.SIGSTOP, patience, patience + 10 + busy, frozen),
    )
    yield "killed training process", partial(_lost_trainer, workshop, busy)
    yield "stopped launcher", partial(_stopped_launcher, workshop, 30 + busy)
    yield "killed launcher", partial(_killed_launcher, workshop, 10 + busy)


def _lost_rank(workshop: Workshop, how: signal.Signals, timeout: float, seconds: float) -> list[str]:
    with _started(workshop.fresh("job"), *TORCHRUN, timeout=timeout) as job:
        os.kill(job.members(r"^\S+ -u -m dit_run ")[1], how)
        return job.wrong_end(seconds, "process 0 cannot reach another process of this run")


def _lost_loader(workshop: Workshop, how: signal.Signals, timeout: float, seconds: float, told: str) -> list[str]:
    with _started(workshop.fresh("job"), timeout=timeout, num_workers=2) as job:
        os.kill(job.members("forkserver")[-1], how)
        return job.wrong_end(seconds, told)


def _lost_trainer(workshop: Workshop, busy: float) -> list[str]:
    with _started(workshop.fresh("job"), num_workers=2) as job:
        os.kill(job.process.pid, signal.SIGKILL)
        return job.wrong_end(5 + busy, "")


def _stopped_launcher(workshop: Workshop, seconds: float) -> list[str]:
    with _started(workshop.fresh("job"), *TORCHRUN) as job:
        os.kill(job.process.pid, signal.SIGTERM)
        return job.wrong_end(seconds, "the same command continues")


def _killed_launcher(workshop: Workshop, seconds: float) -> list[str]:
    with _started(workshop.fresh("job"), *TORCHRUN) as job:
        os.kill(job.process.pid, signal.SIGKILL)
        return job.wrong_end(seconds, "the same command continues")


def _started(folder: Path, *launcher: str, timeout: float = 60, **values: object) -> Job:
    """A long run under torchrun, or alone."""
    command = [sys.executable, "-m", *launcher, "dit_run", *words(folder, folder / "run", **values)]
    return Job(folder, command, DIT_RUN_TIMEOUT=timeout)


def words(folder: Path, run: Path, **values: object) -> list[str]:
    """The words of a command that trains for long; its config is put into ``folder``."""
    folder.mkdir(parents=True)
    config = folder / "config.yaml"
    config.write_text(CONFIG)
    given = {"max_steps": 100_000, "save_steps": 100_000, "logging_steps": 5, **values}
    return [str(config), *overrides(run, **given), *QUIET]


class Job:
    """A command that has begun to train; all of its processes carry a mark."""

    def __init__(
        self, folder: Path, command: Sequence[str], *, awaited: str = "step 5/", **environment: object
    ) -> None:
        """Begin; ``awaited`` is what it says once it trains, empty where it says nothing."""
        folder.mkdir(exist_ok=True)
        self._said = folder / "said.txt"
        self._mark = f"{_MARK}={folder}"
        self._awaited = awaited
        added = {name: str(value) for name, value in {**environment, _MARK: folder}.items()}
        with self._said.open("w") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, env={**os.environ, **ONE_THREAD, **added}
            )

    def __enter__(self) -> Job:
        while self._awaited not in self.said:
            if self.process.poll() is not None:
                raise RuntimeError(self.said)
            time.sleep(0.02)
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    @property
    def said(self) -> str:
        return self._said.read_text(errors="replace")

    def members(self, pattern: str = "") -> list[int]:
        """Its processes whose command line fits, oldest first."""
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                marked = folder.name.isdigit() and self._mark.encode() in (folder / "environ").read_bytes().split(b"\0")
                if marked and re.search(pattern, (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()):
                    found.append(int(folder.name))
        return sorted(found)

    def kill(self) -> None:
        """Kill all of its processes."""
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def wrong_end(self, seconds: float, told: str) -> list[str]:
        """What is wrong with how the job ends within so many seconds, all of its processes gone."""
        until = time.monotonic() + seconds
        while (left := self.members()) and time.monotonic() < until:
            self.process.poll()
            time.sleep(0.02)
        faults = [f"{len(left)} processes are left after {seconds:g} s"] if left else []
        faults += [] if told in self.said else [f"not told: {told}"]
        return [f"{fault}\n{self.said[-1500:]}" for fault in faults]
