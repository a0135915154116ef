"""The endurance parts: each a sequence of named cases that return what was wrong."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from dit_run.problems import InputError
from dit_run.runs.checkpoint.store import Checkpoints
from dit_run.runs.run_folder import RunFolder
from dit_run.training.watch_record import WatchRecord

from .forge import Ended, Fault, Forge
from .power import Tree, images, read_log
from .scenario import CONFIG, differences, newest, overrides, stopped_after

__all__ = [
    "ASYNC",
    "ROOMLESS",
    "Case",
    "Workshop",
    "async_disk_faults",
    "disk_faults",
    "kill_points",
    "kills_of_async_saves",
    "litter",
    "power_losses",
    "refused_stops",
    "torn_writes",
]

ASYNC = ("training.async_save=true",)
ROOMLESS = ("rename", "truncate", "unlink")
"""Calls that a full disk does not hinder."""

Case = tuple[str, Callable[[], list[str]]]


@dataclass
class Workshop:
    """A folder for runs, the warm process, and the uninterrupted run that all others are compared with."""

    folder: Path
    forge: Forge
    config: str = CONFIG
    busy: float = 0
    """Seconds that deadlines are longer by."""

    @cached_property
    def config_file(self) -> Path:
        path = self.folder / "config.yaml"
        path.write_text(self.config)
        return path

    @property
    def log(self) -> Path:
        """The uninterrupted run's system calls."""
        return self.folder / "calls.log"

    @cached_property
    def reference(self) -> Path:
        """The uninterrupted run."""
        path = self.folder / "reference"
        shutil.rmtree(path, ignore_errors=True)
        ended = self.run(path, logs=[self.log])
        if ended.status != 0:
            raise RuntimeError(f"the uninterrupted run ended with status {ended.status}:\n{ended.output}")
        return path

    @cached_property
    def calls(self) -> list[str]:
        """The names of the calls of the uninterrupted run, one for each point."""
        reference = self.reference
        return [call.name for call in read_log(self.log, reference)]

    def fresh(self, name: str) -> Path:
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        return path

    def run(
        self,
        path: Path,
        fault: Fault = Fault.NONE,
        point: int = 0,
        *,
        error: int = 0,
        logs: Sequence[Path] = (),
        words: Sequence[str] = (),
    ) -> Ended:
        words = [str(self.config_file), *overrides(path), *words]
        return self.forge.start(words, path, fault, point, error=error, logs=logs).wait()

    def finished(self, path: Path) -> list[str]:
        """Run to the end by the same command; how it then differs from the reference."""
        ended = self.run(path)
        if ended.status != 0:
            return [f"the continued run ended with status {ended.status}: {ended.output[-2000:]}"]
        return differences(self.reference, path) + litter(path)


def kill_points(workshop: Workshop, every: int = 1) -> Iterator[Case]:
    """SIGKILL before each call, then the same command to the end."""
    for point in range(1, len(workshop.calls) + 1, every):
        yield f"{point}", partial(_killed, workshop, Fault.KILL, point)


def kills_of_async_saves(workshop: Workshop, every: int = 1) -> Iterator[Case]:
    """SIGKILL before each call of a run whose checkpoints a thread writes, so that the calls come in another order."""
    for point in range(1, len(workshop.calls), every):
        yield f"{point}", partial(_killed, workshop, Fault.KILL, point, ASYNC)


def async_disk_faults(workshop: Workshop, every: int = 1) -> Iterator[Case]:
    """EIO once at each call of a run whose checkpoints a thread writes."""
    for point in range(1, len(workshop.calls) + 1, every):
        yield f"{point}", partial(_starved, workshop, Fault.FAIL_ONCE, point, errno.EIO, ASYNC)


def torn_writes(workshop: Workshop, every: int = 1) -> Iterator[Case]:
    """SIGKILL in the middle of each write."""
    writes = [point for point, name in enumerate(workshop.calls, start=1) if name == "write"]
    for point in writes[::every]:
        yield f"{point}", partial(_killed, workshop, Fault.TEAR, point)


def _killed(workshop: Workshop, fault: Fault, point: int, words: Sequence[str] = ()) -> list[str]:
    path = workshop.fresh("killed")
    ended = workshop.run(path, fault, point, words=words)
    if ended.status != -9:
        return [f"status {ended.status} instead of a kill"]
    return workshop.finished(path)


def disk_faults(workshop: Workshop, every: int = 1) -> Iterator[Case]:
    """ENOSPC and EIO at each call that may fail so, once and from then on; then the same command with a mended disk."""
    for error in (errno.ENOSPC, errno.EIO):
        points = [point for point, name in enumerate(workshop.calls, 1) if error == errno.EIO or name not in ROOMLESS]
        for fault in (Fault.FAIL_ONCE, Fault.FAIL_FROM):
            for point in points[::every]:
                name = f"{errno.errorcode[error]} {fault.name.lower()} {point}"
                yield name, partial(_starved, workshop, fault, point, error)


def _starved(workshop: Workshop, fault: Fault, point: int, error: int, words: Sequence[str] = ()) -> list[str]:
    path = workshop.fresh("starved")
    ended = workshop.run(path, fault, point, error=error, words=words)
    if ended.status not in (0, 1, 2) or "Traceback" in ended.output:
        return [f"status {ended.status}: {ended.output[-2000:]}"]
    if ended.status == 0:
        return differences(workshop.reference, path) + litter(path)
    return workshop.finished(path)


def refused_stops(workshop: Workshop, every: int = 1) -> Iterator[Case]:
    """SIGTERM at a step whose checkpoint the disk refuses, once, at each call: it is saved all the same."""
    path, log = workshop.fresh("refused"), workshop.folder / "stopped.log"
    workshop.run(path, logs=[log], words=stopped_after(4))
    calls = read_log(log, path)
    saving = [point for point, call in enumerate(calls, start=1) if "step-00000004" in f"{call.path} {call.other}"]
    for point in saving[::every]:
        yield f"{point}", partial(_refused, workshop, point)


def _refused(workshop: Workshop, point: int) -> list[str]:
    path = workshop.fresh("refused")
    ended = workshop.run(path, Fault.FAIL_ONCE, point, error=errno.EIO, words=stopped_after(4))
    if ended.status != 143 or newest(path).name != "step-00000004":
        return [f"status {ended.status} with {newest(path).name}: {ended.output[-2000:]}"]
    return workshop.finished(path)


def litter(path: Path) -> list[str]:
    """Temporary files that a finished run left."""
    return [f"litter {file.relative_to(path)}" for file in path.rglob(".*")]


def power_losses(workshop: Workshop, every: int = 1) -> Iterator[Case]:
    """All unsynced changes lost, and each alone, after every call: once committed, a checkpoint can be continued from,
    and what was logged until then is there."""
    calls = read_log(workshop.log, workshop.reference)
    renamed = next(i for i, call in enumerate(calls) if call.name == "rename" and call.other.name.startswith("step-"))
    committed = next(i for i in range(renamed, len(calls)) if calls[i].name == "fsync") + 1
    judge = _Judge(workshop)
    for done, lost, tree in images(calls):
        if done % every == 0:
            yield f"{done} {lost}", partial(judge, tree, committed=done >= committed)


@dataclass
class _Judge:
    """Says what is wrong with a disk after a power loss; equal checkpoints are examined once."""

    workshop: Workshop
    _known: dict[int, int | str | None] = field(default_factory=dict)

    def __call__(self, tree: Tree, *, committed: bool) -> list[str]:
        files = {path: data for path, data in tree.content() if data is None or not path.startswith("samples/")}
        checkpoints = {path: data for path, data in files.items() if path.startswith(("checkpoints", "provenance"))}
        key = hash(tuple(checkpoints.items()))
        if key not in self._known:
            self._known[key] = self._newest(checkpoints)
        newest = self._known[key]
        if newest is None:
            return ["no checkpoint"] if committed else []
        if isinstance(newest, str):
            return [newest]
        logged = {json.loads(line)["step"] for line in (files.get("metrics.jsonl") or b"").splitlines() if _whole(line)}
        status = json.loads(data) if _whole(data := files.get("status.json") or b"") else None
        watched = WatchRecord.of(status, newest).watched  # a step that is not watched is logged when it continues
        missing = sorted(set(range(1, watched + 1)) - logged)
        return [f"step {newest} can be continued from, and metrics of {missing} are lost"] if missing else []

    def _newest(self, files: dict[str, bytes | None]) -> int | str | None:
        """The step of the checkpoint that would be continued from, or why none can be."""
        run = self.workshop.fresh("lost")
        run.mkdir()
        for path, data in files.items():
            if data is None:
                (run / path).mkdir()
            else:
                (run / path).write_bytes(data)
        try:
            newest = Checkpoints(run / "checkpoints", RunFolder(run).run_id()).newest_valid().path
        except InputError as error:
            return str(error)
        return None if newest is None else int(newest.name.removeprefix("step-"))


def _whole(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
