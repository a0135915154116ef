"""Checkpoints of a run: save, find the newest valid one, and remove old ones."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from dit_run.compute.distributed import Processes
from dit_run.problems import InputError
from dit_run.runs.checkpoint.checkpoint_files import CheckpointContents, needed_bytes, write_checkpoint
from dit_run.runs.checkpoint.commit import (
    Damage,
    Entry,
    SaveFailed,
    Uncommitted,
    commit,
    committing,
    entry_of,
    find_damage,
    remove,
)
from dit_run.system.durable import sync_folder
from dit_run.system.json_files import read_object

__all__ = ["Checkpoints", "Newest", "Saved"]

_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Newest:
    """The checkpoint from which a run continues; ``path`` is None if there is none."""

    path: Path | None
    passed_over: tuple[str, ...] = ()
    """Newer checkpoints that were skipped, with their damage, newest first."""


@dataclass(frozen=True)
class Saved:
    """A saved checkpoint."""

    path: Path
    notices: tuple[str, ...] = ()
    """Older checkpoints that could not be removed, as messages."""


@dataclass
class Checkpoints:
    """The folder ``checkpoints`` of the run with this id. Only the process that holds the lock of the run may save."""

    folder: Path
    run_id: str
    _known: dict[Path, tuple[tuple[int, ...], str | None]] = field(default_factory=dict)
    """By path: the signature of the files when they were verified, and the id of their run."""

    def newest_valid(self, processes: Processes | None = None) -> Newest:
        """Return the newest complete checkpoint of this run, every byte verified.

        Several ``processes``, which all call this, share out the files. Raises InputError if there are checkpoints and
        none is complete, because a new start would overwrite them.
        """
        processes = processes or Processes()
        passed_over: list[str] = []
        for name in reversed(processes.broadcast([path.name for path in self.paths()])):
            path = self.folder / name
            damages = self._damages(path, processes)
            if not damages:
                self._known[path] = (_signature(path), self.run_id)
                return Newest(path, tuple(passed_over))
            passed_over.append(f"{path.name} ({'; '.join(map(str, damages))})")
        if passed_over:
            raise InputError(
                f"{self.folder} has checkpoints, but none can be used: "
                f"{', '.join(passed_over)}. Restore one, or start another run with --fresh DIR"
            )
        return Newest(None)

    def paths(self) -> list[Path]:
        """Return all folders named like checkpoints, complete or not, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(
            (path for path in self.folder.iterdir() if _step_of(path) is not None), key=lambda path: _step_of(path) or 0
        )

    def path(self, step: int) -> Path:
        """Return the path of the checkpoint of a step, which need not exist."""
        return self.folder / f"step-{step:08d}"

    def save(
        self,
        step: int,
        contents: CheckpointContents,
        *,
        limit: int | None,
        best_step: int | None = None,
        protect: Collection[int] = (),
    ) -> Saved:
        """Save after ``step`` steps, then remove the oldest checkpoints beyond ``limit`` (at least 2; None keeps all).

        ``best_step`` and the steps in ``protect`` are always kept. Damaged checkpoints and those of another run are
        neither counted nor removed. A complete checkpoint of this step stays as it is. Raises SaveFailed if the disk is
        full or fails; then nothing has changed.
        """
        path = self.path(step)
        if not self._is_saved(path):
            commit(path, lambda folder: self._write(folder, step, contents), needed=needed_bytes(contents))
            self._known[path] = (_signature(path), self.run_id)
        return self._prune(path, limit, best_step, protect)

    def save_together(
        self,
        step: int,
        contents: CheckpointContents | None,
        processes: Processes,
        *,
        limit: int | None,
        best_step: int | None = None,
        protect: Collection[int] = (),
    ) -> Saved:
        """Save as :meth:`save` does, with other processes, each of which calls this with its part, or None for nothing.

        Each writes, syncs and hashes its own files; the first one commits. Raises a DitRunError in all processes if a
        disk of any of them is full or fails; then nothing has changed.
        """
        path = self.path(step)
        with ExitStack() as stack:
            opened: list[Uncommitted] = []

            def begin() -> str:
                if self._is_saved(path) or contents is None or contents.part is None:
                    return ""
                needed = needed_bytes(contents) * contents.part.count
                opened.append(stack.enter_context(committing(path, needed=needed)))
                return opened[0].path.name

            def finish(results: Sequence[dict[str, Entry] | str]) -> None:
                with stack:
                    for result in results:
                        if isinstance(result, str):
                            raise SaveFailed(f"{path} could not be written: {result}")
                        opened[0].entries.update(result)
                self._known[path] = (_signature(path), self.run_id)

            if partial := processes.on_first(begin):
                results = processes.gather(self._written(self.folder / partial, step, contents))
                processes.on_first(lambda: finish(results))
        return processes.on_first(lambda: self._prune(path, limit, best_step, protect))

    def _is_saved(self, path: Path) -> bool:
        """Return True for a complete checkpoint of this run. Raises SaveFailed for one of another run."""
        owner = self._owner(path)
        if owner is None:
            return False
        if owner != self.run_id:
            raise SaveFailed(f"{path} is a checkpoint of another run, {owner}; move it away")
        _sync(path)
        return True

    def _written(self, folder: Path, step: int, contents: CheckpointContents | None) -> dict[str, Entry] | str:
        """Write and sync this process's files; return their entries in the manifest, or why they are not there."""
        if contents is None:
            return {}
        try:
            return {path.name: entry_of(path) for path in self._write(folder, step, contents)}
        except OSError as error:
            return error.strerror or str(error)

    def _write(self, folder: Path, step: int, contents: CheckpointContents) -> list[Path]:
        return write_checkpoint(folder, contents, step=step, run_id=self.run_id)

    def _prune(self, newest: Path, limit: int | None, best_step: int | None, protect: Collection[int]) -> Saved:
        if limit is None:
            return Saved(newest)
        own = [path for path in self.paths() if self._owner(path) == self.run_id]
        notices = []
        for path in _superfluous(own, max(limit, 2), best_step, protect):
            try:
                remove(path)
            except OSError as error:
                notices.append(f"the old checkpoint {path} could not be removed: {error.strerror or error}")
        return Saved(newest, tuple(notices))

    def _owner(self, path: Path) -> str | None:
        """Return the run id of a complete checkpoint, None for a damaged one.

        It is verified again only after a change of its files.
        """
        signature = _signature(path)
        if self._known.get(path, (None, None))[0] != signature:
            self._known[path] = (signature, None if find_damage(path) else _run_id(path))
        return self._known[path][1]

    def _damages(self, path: Path, processes: Processes) -> list[Damage]:
        shares = processes.gather(find_damage(path, share=(processes.rank, processes.count)))
        damages = list(dict.fromkeys(damage for share in shares for damage in share))
        if not damages and (owner := _run_id(path)) != self.run_id:
            return [Damage("state.json", f"belongs to another run, {owner}")]
        return damages


def _superfluous(own: list[Path], limit: int, best_step: int | None, protect: Collection[int]) -> list[Path]:
    """Return which complete checkpoints, given oldest first, are removed when ``limit`` are kept."""
    kept = {_step_of(path) for path in own if _step_of(path) in {best_step, *protect}} | {_step_of(own[-1])}
    for path in reversed(own):
        if len(kept) >= limit:
            break
        kept.add(_step_of(path))
    return [path for path in own if _step_of(path) not in kept]


def _step_of(path: Path) -> int | None:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else None


def _signature(path: Path) -> tuple[int, ...]:
    """Return numbers that change when a file of the folder changes; empty if the folder cannot be read."""
    with suppress(OSError):
        stats = [file.stat() for file in sorted(path.iterdir())]
        return tuple(number for s in stats for number in (s.st_ino, s.st_size, s.st_mtime_ns))
    return ()


def _run_id(path: Path) -> str | None:
    try:
        return str(read_object(path / "state.json").get("run_id"))
    except InputError:
        return None


def _sync(path: Path) -> None:
    try:
        sync_folder(path.parent)
    except OSError as error:
        raise SaveFailed(f"{path} could not be synced: {error.strerror or error}") from error
