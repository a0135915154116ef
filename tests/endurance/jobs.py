"""Jobs of several processes that lose one of them: they end, soon, and leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .forge import ONE_THREAD
from .parts import Case, Workshop
from .scenario import CONFIG, overrides

__all__ = ["Job", "lost_processes"]

TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m")
PATIENCE = 15
"""Seconds that processes wait for a frozen one, and have to start on a busy machine."""
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
    with Job(workshop.fresh("job"), *TORCHRUN, timeout=timeout) as job:
        os.kill(job.members(r"^\S+ -u -m dit_run ")[1], how)
        return job.wrong_end(seconds, "process 0 cannot reach another process of this run")


def _lost_loader(workshop: Workshop, how: signal.Signals, timeout: float, seconds: float, told: str) -> list[str]:
    with Job(workshop.fresh("job"), timeout=timeout, num_workers=2) as job:
        os.kill(job.members("forkserver")[-1], how)
        return job.wrong_end(seconds, told)


def _lost_trainer(workshop: Workshop, busy: float) -> list[str]:
    with Job(workshop.fresh("job"), num_workers=2) as job:
        os.kill(job.process.pid, signal.SIGKILL)
        return job.wrong_end(5 + busy, "")


def _stopped_launcher(workshop: Workshop, seconds: float) -> list[str]:
    with Job(workshop.fresh("job"), *TORCHRUN) as job:
        os.kill(job.process.pid, signal.SIGTERM)
        return job.wrong_end(seconds, "the same command continues")


def _killed_launcher(workshop: Workshop, seconds: float) -> list[str]:
    with Job(workshop.fresh("job"), *TORCHRUN) as job:
        os.kill(job.process.pid, signal.SIGKILL)
        return job.wrong_end(seconds, "the same command continues")


class Job:
    """A long run under torchrun, or alone, that has begun to train; all of its processes carry a mark."""

    def __init__(self, folder: Path, *launcher: str, timeout: float = 60, **values: object) -> None:
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(CONFIG)
        words = overrides(folder / "run", max_steps=100_000, save_steps=100_000, logging_steps=5, **values)
        self._said = folder / "said.txt"
        self._mark = f"DIT_RUN_TEST_JOB={folder}"
        environment = dict(entry.split("=", 1) for entry in (self._mark, f"DIT_RUN_TIMEOUT={timeout}"))
        with self._said.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *launcher, "dit_run", str(folder / "config.yaml"), *words, *QUIET],
                stdout=output, stderr=output, env={**os.environ, **ONE_THREAD, **environment},
            )  # fmt: skip

    def __enter__(self) -> Job:
        while "step 5/" not in self.said:
            if self.process.poll() is not None:
                raise RuntimeError(self.said)
            time.sleep(0.02)
        return self

    def __exit__(self, *error: object) -> None:
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

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

    def wrong_end(self, seconds: float, told: str) -> list[str]:
        """What is wrong with how the job ends within so many seconds, all of its processes gone."""
        until = time.monotonic() + seconds
        while (left := self.members()) and time.monotonic() < until:
            self.process.poll()
            time.sleep(0.02)
        faults = [f"{len(left)} processes are left after {seconds:g} s"] if left else []
        faults += [] if told in self.said else [f"not told: {told}"]
        return [f"{fault}\n{self.said[-1500:]}" for fault in faults]
