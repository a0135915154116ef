"""Runs whose processes share the weights, so that each writes a part of a checkpoint.

At each call of a save one of them is killed, its disk fails, or all are asked to stop; and a byte of each file of a
checkpoint is flipped.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

from dit_run.problems import InputError
from dit_run.runs.checkpoint.store import Checkpoints
from dit_run.runs.run_folder import RunFolder

from .forge import Ended, Fault
from .parts import ASYNC, ROOMLESS, Case, Workshop, litter
from .power import read_log
from .scenario import differences, newest, overrides, stopped_after
from .signals import wrong_stop

__all__ = ["disk_faults", "flipped_bytes", "kills", "stops"]

QUIET = (
    "training.gradient_accumulation_steps=1",
    "sampling.every_n_steps=null",
    "validation.every_n_steps=null",
    "trackers=[]",
)
SAVE_STEPS = 2
_STOPPED = 5
"""A step that is not the last one."""


class Point(NamedTuple):
    """A call of a process in a save."""

    rank: int
    number: int
    call: str
    step: int
    """The step that is saved; 0 before the first save."""

    def __str__(self) -> str:
        return f"process {self.rank}, {self.call}, call {self.number} of the save of step {self.step}"


@dataclass
class Shards:
    """Runs of so many processes, each of which has a part of the weights."""

    workshop: Workshop
    count: int

    @cached_property
    def reference(self) -> Path:
        """The uninterrupted run, of all parts; the calls of its processes are in ``logs``."""
        path = self.workshop.forge.folder / f"{self.count}-shards"
        if not path.exists():
            ended = self.run(path, logs=self.logs)
            if any(ended.statuses):
                raise RuntimeError(f"the uninterrupted run ended with {ended.statuses}:\n{ended.output}")
        return path

    @property
    def logs(self) -> list[Path]:
        return [self.workshop.forge.folder / f"{self.count}-calls-{rank}.log" for rank in range(self.count)]

    def points(self, every: int) -> Iterator[Point]:
        """Every n-th call of each process in a save, those of a save with others before and after it first."""
        found = [point for rank in range(self.count) for point in self._points(rank)][::every]
        yield from sorted(found, key=lambda point: point.step != 2 * SAVE_STEPS)

    def _points(self, rank: int) -> Iterator[Point]:
        step = 0
        checkpoints = self.reference / "checkpoints"
        for number, call in enumerate(read_log(self.logs[rank], checkpoints), start=1):
            if found := re.search(r"\.step-(\d+)\.partial", f"{call.path}"):
                step = int(found[1])
            yield Point(rank, number, call.name, step)

    def run(
        self,
        path: Path,
        fault: Fault = Fault.NONE,
        point: Point | None = None,
        *,
        error: int = 0,
        logs: Sequence[Path] = (),
        words: Sequence[str] = (),
    ) -> Ended:
        words = [
            str(self.workshop.config_file), *overrides(path, shard=self.count, save_steps=SAVE_STEPS), *QUIET,
            *words,
        ]  # fmt: skip
        rank, number = (point.rank, point.number) if point else (0, 0)
        return self.workshop.forge.start(
            words, path / "checkpoints", fault, number, error=error, rank=rank, logs=logs, processes=self.count
        ).wait()

    def finished(self, path: Path, told: str = "") -> list[str]:
        """Run to the end by the same command; how it then differs from the reference."""
        ended = self.run(path)
        if any(ended.statuses) or told not in " ".join(ended.output.split()):
            return [f"the continued run ended with {ended.statuses}, expected {told!r}: {ended.output[-2000:]}"]
        return differences(self.reference, path) + litter(path)


def kills(workshop: Workshop) -> Iterator[Case]:
    """SIGKILL of each process at each call of a save, done at once and by a thread; of 4 processes at some calls."""
    for count, words, every in ((2, (), 1), (2, ASYNC, 2), (4, (), 8)):
        shards = Shards(workshop, count)
        for point in shards.points(every):
            yield f"{_title(count, words)}, {point}", partial(_killed, shards, words, point)


def _killed(shards: Shards, words: Sequence[str], point: Point) -> list[str]:
    path = shards.workshop.fresh("killed")
    ended = shards.run(path, Fault.KILL, point, words=words)
    others = [status for rank, status in enumerate(ended.statuses) if rank != point.rank]
    if ended.statuses[point.rank] != -9 or 0 in others or "Traceback" in ended.output:
        return [f"statuses {ended.statuses}: {ended.output[-2000:]}"]
    return _unsaved(path, point.step - SAVE_STEPS) or shards.finished(path)


def disk_faults(workshop: Workshop) -> Iterator[Case]:
    """ENOSPC and EIO in one process at each call of a save that may fail so, once and from then on."""
    for count, words, every in ((2, (), 4), (2, ASYNC, 8), (4, (), 16)):
        shards = Shards(workshop, count)
        for error in (errno.ENOSPC, errno.EIO):
            for fault in (Fault.FAIL_ONCE, Fault.FAIL_FROM):
                for point in shards.points(every):
                    if error == errno.EIO or point.call not in ROOMLESS:
                        name = f"{_title(count, words)}, {errno.errorcode[error]} {fault.name.lower()}, {point}"
                        yield name, partial(_starved, shards, words, fault, point, error)


def _starved(shards: Shards, words: Sequence[str], fault: Fault, point: Point, error: int) -> list[str]:
    path = shards.workshop.fresh("starved")
    ended = shards.run(path, fault, point, error=error, words=words)
    succeeded = set(ended.statuses) == {0}
    if not (succeeded or set(ended.statuses) <= {1, 2, 143}) or "Traceback" in ended.output:
        return [f"statuses {ended.statuses}: {ended.output[-2000:]}"]
    if succeeded:
        return differences(shards.reference, path) + litter(path)
    return _unsaved(path, point.step - SAVE_STEPS) or shards.finished(path)


def stops(workshop: Workshop) -> Iterator[Case]:
    """SIGTERM to all processes at each call of a save that threads do: every step that was done is in a checkpoint."""
    for count, every in ((2, 2), (4, 16)):
        shards = Shards(workshop, count)
        for point in shards.points(every):
            yield f"{_title(count, ASYNC)}, {point}", partial(_stopped, shards, point)


def _stopped(shards: Shards, point: Point) -> list[str]:
    path = shards.workshop.fresh("stopped")
    ended = shards.run(path, Fault.STOP, point, words=ASYNC)
    if set(ended.statuses) not in ({0}, {143}):
        return [f"statuses {ended.statuses}: {ended.output[-2000:]}"]
    return wrong_stop(path, ended) or _unsaved(path, point.step) or shards.finished(path)


def flipped_bytes(workshop: Workshop) -> Iterator[Case]:
    """One byte in each file of the newest checkpoint: the run continues from the one before."""
    for count in (2, 4):
        shards = Shards(workshop, count)
        stopped = workshop.fresh(f"{count}-stopped")
        shards.run(stopped, words=stopped_after(_STOPPED))
        for file in sorted(newest(stopped).iterdir()):
            yield f"{count} processes, {file.name}", partial(_flipped, shards, stopped, file.name)


def _flipped(shards: Shards, stopped: Path, name: str) -> list[str]:
    path = Path(shutil.copytree(stopped, shards.workshop.fresh("flipped")))
    file = newest(path) / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    damage = "its own digest" if name == "MANIFEST.json" else "its checksum"
    return shards.finished(path, f"passed over: step-{_STOPPED:08d} ({name} does not match {damage})")


def _title(count: int, words: Sequence[str]) -> str:
    return f"{count} processes" + (", in threads" if words else "")


def _unsaved(path: Path, step: int) -> list[str]:
    """What is wrong where a run must be able to continue from that step, or a later one."""
    try:
        found = Checkpoints(path / "checkpoints", RunFolder(path).run_id()).newest_valid().path
    except InputError as error:
        return [str(error)]
    known = 0 if found is None else int(found.name.removeprefix("step-"))
    return [] if known >= step else [f"the newest checkpoint is of step {known}, expected step {step}"]
