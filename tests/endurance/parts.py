"""The endurance parts: each a sequence of named cases that return what was wrong."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from dit_run.checkpoint.store import Checkpoints
from dit_run.problems import InputError
from dit_run.run_folder import RunFolder
from tests.endurance.forge import Ended, Fault, Forge
from tests.endurance.power import Tree, images, materialise, read_log
from tests.endurance.scenario import CONFIG, differences, metrics, overrides

__all__ = ["Case", "Workshop", "disk_faults", "kill_points", "power_losses", "torn_writes"]

Case = tuple[str, Callable[[], list[str]]]


@dataclass
class Workshop:
    """A folder for runs, the warm process, and the uninterrupted run that all others are compared with."""

    folder: Path
    forge: Forge
    config: str = CONFIG
    _counter: int = field(default=0)

    @cached_property
    def config_file(self) -> Path:
        path = self.folder / "config.yaml"
        path.write_text(self.config)
        return path

    @cached_property
    def reference(self) -> Path:
        """The uninterrupted run; its calls are in ``calls.log``."""
        path = self.folder / "reference"
        shutil.rmtree(path, ignore_errors=True)
        ended = self.run(path, log=self.folder / "calls.log")
        if ended.status != 0:
            raise RuntimeError(f"the uninterrupted run ended with status {ended.status}:\n{ended.output}")
        return path

    @cached_property
    def calls(self) -> list[str]:
        """The names of the calls of the uninterrupted run, one for each point."""
        reference = self.reference
        return [call.name for call in read_log(self.folder / "calls.log", reference.parent)]

    def fresh(self, name: str) -> Path:
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        return path

    def run(self, path: Path, fault: Fault = Fault.NONE, point: int = 0, *, error: int = 0, log: Path | None = None) -> Ended:
        return self.forge.run([str(self.config_file), *overrides(path)], path, fault, point, error=error, log=log)

    def finished(self, path: Path) -> list[str]:
        """Run to the end by the same command; how it then differs from the reference."""
        ended = self.run(path)
        if ended.status != 0:
            return [f"the continued run ended with status {ended.status}: {ended.output[-2000:]}"]
        return differences(self.reference, path) + _litter(path)


def kill_points(workshop: Workshop, every: int = 1) -> Iterator[Case]:
    """SIGKILL before each call, then the same command to the end."""
    for point in range(1, len(workshop.calls) + 1, every):
        yield f"{point}", partial(_killed, workshop, Fault.KILL, point)


def torn_writes(workshop: Workshop, every: int = 1) -> Iterator[Case]:
    """SIGKILL in the middle of each write."""
    writes = [point for point, name in enumerate(workshop.calls, start=1) if name == "write"]
    for point in writes[::every]:
        yield f"{point}", partial(_killed, workshop, Fault.TEAR, point)


def _killed(workshop: Workshop, fault: Fault, point: int) -> list[str]:
    path = workshop.fresh("killed")
    ended = workshop.run(path, fault, point)
    if ended.status != -9:
        return [f"status {ended.status} instead of a kill"]
    return workshop.finished(path)


def disk_faults(workshop: Workshop, every: int = 1) -> Iterator[Case]:
    """ENOSPC and EIO at each call, once and from then on; then the same command with a mended disk."""
    for error in (errno.ENOSPC, errno.EIO):
        for fault in (Fault.FAIL_ONCE, Fault.FAIL_FROM):
            for point in range(1, len(workshop.calls) + 1, every):
                name = f"{errno.errorcode[error]} {fault.name.lower()} {point}"
                yield name, partial(_starved, workshop, fault, point, error)


def _starved(workshop: Workshop, fault: Fault, point: int, error: int) -> list[str]:
    path = workshop.fresh("starved")
    ended = workshop.run(path, fault, point, error=error)
    if ended.status not in (0, 1, 2) or "Traceback" in ended.output:
        return [f"status {ended.status}: {ended.output[-2000:]}"]
    if ended.status == 0:
        return differences(workshop.reference, path) + _litter(path)
    return workshop.finished(path)


def _litter(path: Path) -> list[str]:
    """Temporary files that a finished run left."""
    return [f"litter {file.relative_to(path)}" for file in path.rglob(".*")]


def power_losses(workshop: Workshop, every: int = 1) -> Iterator[Case]:
    """All unsynced changes lost, and each alone, after every call: once committed, a checkpoint can be continued from."""
    calls = read_log(_log_of(workshop), workshop.folder)
    renamed = next(i for i, call in enumerate(calls) if call.name == "rename" and call.other.name.startswith("step-"))
    committed = next(i for i in range(renamed, len(calls)) if calls[i].name == "fsync") + 1
    seen: set[int] = set()
    for done, lost, tree in images(calls):
        key = hash((done >= committed, *tree.content()))
        if key not in seen and done % every == 0:
            seen.add(key)
            yield f"{done} {lost}", partial(_after_loss, workshop, tree, done >= committed)


def _log_of(workshop: Workshop) -> Path:
    assert workshop.calls
    return workshop.folder / "calls.log"


def _after_loss(workshop: Workshop, tree: Tree, committed: bool) -> list[str]:
    top = workshop.fresh("lost")
    top.mkdir()
    materialise(tree, top)
    run = top / "reference"
    try:
        newest = Checkpoints(run / "checkpoints", RunFolder(run).run_id()).newest_valid()
    except InputError as error:
        return [str(error)]
    if newest.path is None:
        return ["no checkpoint"] if committed else []
    logged = [line["step"] for line in metrics(_whole_lines(run))]
    step = int(newest.path.name.removeprefix("step-"))
    missing = [str(each) for each in range(1, step + 1) if str(each) not in logged]
    return [f"metrics of steps {', '.join(missing)}"] if missing else []


def _whole_lines(run: Path) -> Path:
    """The run with a metrics file that ends where its last whole line does."""
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    path.write_bytes(b"".join(line for line in lines if _is_json(line)))
    return run


def _is_json(line: bytes) -> bool:
    try:
        return line.endswith(b"\n") and isinstance(json.loads(line), dict)
    except ValueError:
        return False
