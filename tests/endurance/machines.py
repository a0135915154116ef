"""Two machines, as two torchruns with a shared disk or disks of their own; and two processes without a launcher.

A machine is a mount namespace, in which the output folder is one of two folders, or both times the same.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from .jobs import Job, words
from .launching import launches
from .parts import Case, Workshop
from .scenario import differences

__all__ = ["lost_machines", "separate_folders"]

_STEPS = {"max_steps": 60, "save_steps": 20, "shard": 2}
_SAVED = "step 25/"
"""Said by the first process when a checkpoint is complete."""
_TOLD_WITHIN = 10
"""Seconds."""
_PATIENCE = 600
"""Seconds that processes wait for one that is not known to have ended."""
_MOUNTED = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
_MACHINES, _LONE = "machine", "process without a launcher"


def lost_machines(workshop: Workshop) -> Iterator[Case]:
    """One of two machines, or of two processes without a launcher, is killed: the other says so in time and ends."""
    pair = _Pair(workshop)
    for kind, lost in ((_MACHINES, 1), (_LONE, 1), (_LONE, 0), (_MACHINES, 0)):
        if kind == _LONE or _permitted():
            yield f"killed {kind}, number {lost}", partial(_lost, pair, kind, lost)


def separate_folders(workshop: Workshop) -> Iterator[Case]:
    """Each of two machines has an output folder of its own: both refuse to start."""
    if _permitted():
        yield "refused", partial(_separate, _Pair(workshop))


def _permitted() -> bool:
    """Whether mount namespaces may be made here; says so where not."""
    refused = subprocess.run(["unshare", "-m", "true"], capture_output=True, text=True, check=False).stderr.strip()
    if refused:
        print(f"LEFT OUT two machines, which need mount namespaces: {refused}", flush=True)
    return not refused


def _lost(pair: _Pair, kind: str, lost: int) -> list[str]:
    disk = pair.disk("disk")
    with pair.begun(kind, [disk, disk], _SAVED) as jobs:
        jobs[lost].kill()
        told = f"process {1 - lost} cannot reach another process of this run: process {lost} on"
        faults = jobs[1 - lost].wrong_end(_TOLD_WITHIN + pair.workshop.busy, told)
    return faults or pair.finished(kind, disk)


def _separate(pair: _Pair) -> list[str]:
    disks = [pair.disk(f"disk-{number}") for number in range(2)]
    told = "is not one folder for all processes: process 1 does not see what process 0 on"
    with pair.begun(_MACHINES, disks, "error: ") as jobs:
        faults = [fault for job in jobs for fault in job.wrong_end(30 + pair.workshop.busy, told)]
    return faults + [f"{file} is left" for disk in disks for file in disk.iterdir()]


@dataclass
class _Pair:
    """Two jobs of one run."""

    workshop: Workshop

    @cached_property
    def reference(self) -> Path:
        """The uninterrupted run."""
        path = self.workshop.fresh("reference")
        given = words(self.workshop.fresh("reference-config"), path, **_STEPS)
        ended = self.workshop.forge.start(given, path, processes=2).wait()
        if any(ended.statuses):
            raise RuntimeError(f"the uninterrupted run ended with {ended.statuses}:\n{ended.output}")
        return path

    def disk(self, name: str) -> Path:
        """An empty folder."""
        path = self.workshop.fresh(name)
        path.mkdir()
        return path

    @contextmanager
    def begun(self, kind: str, disks: Sequence[Path], awaited: str) -> Iterator[list[Job]]:
        """Both jobs, with the run on these disks, once the first has said ``awaited``."""
        place = self.workshop.fresh("pair")
        seen = disks[0] if kind == _LONE else place / "seen"
        given = words(place, seen / "run", **_STEPS)
        seen.mkdir(exist_ok=True)
        commands = _lone(given) if kind == _LONE else _machines(given, seen, disks)
        jobs = [
            Job(place / f"{number}", command, awaited="" if number else awaited, DIT_RUN_TIMEOUT=_PATIENCE, **launch)
            for number, (command, launch) in enumerate(commands)
        ]
        with ExitStack() as stack:
            for job in reversed(jobs):
                stack.enter_context(job)
            yield jobs

    def finished(self, kind: str, disk: Path) -> list[str]:
        """Run to the end by the same commands; how the run then differs from the reference."""
        with self.begun(kind, [disk, disk], "") as jobs:
            statuses = [job.process.wait() for job in jobs]
            if any(statuses):
                return [f"the continued run ended with {statuses}: {jobs[0].said[-2000:]}"]
        return differences(self.reference, disk / "run")


def _machines(given: Sequence[str], seen: Path, disks: Sequence[Path]) -> list[tuple[list[str], Mapping[str, str]]]:
    """For each machine the command, with the disk at ``seen``, and its variables."""
    port = launches(2)[0]["MASTER_PORT"]
    meeting = ("--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={port}")
    mounted = [["unshare", "-m", "sh", "-c", _MOUNTED, "sh", str(disk), str(seen)] for disk in disks]
    torchrun = [sys.executable, "-m", "torch.distributed.run", *meeting]
    return [
        ([*mounted[number], *torchrun, f"--node-rank={number}", "-m", "dit_run", *given], {})
        for number in range(len(disks))
    ]


def _lone(given: Sequence[str]) -> list[tuple[list[str], Mapping[str, str]]]:
    """For each process without a launcher the command and its variables."""
    return [([sys.executable, "-m", "dit_run", *given], launch) for launch in launches(2)]
