"""Checkpoints of a run: save, find the newest valid one, load, and remove old ones."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from dit_run.compute.distributed import Processes
from dit_run.compute.host_copies import host_copy
from dit_run.compute.sharding import first_rows, local_parts
from dit_run.problems import InputError
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
from dit_run.runs.checkpoint.optimizer_state import join_state, split_state
from dit_run.runs.checkpoint.safetensors_file import tensor_bytes
from dit_run.runs.checkpoint.tensor_files import OPTIMIZER, WEIGHTS, Part, read_tensors, write_tensors
from dit_run.runs.checkpoint.weights import EMA, average_stem, kept_averages, refuse_damage
from dit_run.system.durable import sync_folder
from dit_run.system.json_files import read_object

__all__ = [
    "CheckpointContents",
    "Checkpoints",
    "Newest",
    "Saved",
    "load_checkpoint",
    "load_state",
    "needed_bytes",
]

_NAME = re.compile(r"step-(\d{8,})")
_ALLOWANCE = 1 << 20
"""Space for JSON, headers and the file system (bytes)."""


@dataclass(frozen=True)
class CheckpointContents:
    """Contents of a checkpoint. Tensors may be on any device; loaded ones are on the CPU."""

    model: Mapping[str, Tensor]
    """Parameters and buffers of everything that trains."""
    optimizer: Mapping[str, Any]
    """The state_dict of the optimizer."""
    state: Mapping[str, Any]
    """Plain JSON values with finite floats; ``step`` and ``run_id`` are added when saving."""
    config: Mapping[str, Any]
    """The resolved config as plain values."""
    averages: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    """Averages of the model by name, in the order of the config."""
    part: Part | None = None
    """The part of sharded tensors that these are; None for whole ones."""
    first_rows: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """First row of each tensor of which a part is here, by file and name."""

    def copied(self) -> CheckpointContents:
        """Return them with copies of all tensors in host memory, which later training does not change."""
        model, averages, optimizer = host_copy((self.model, self.averages, self.optimizer))
        return replace(self, model=model, averages=averages, optimizer=optimizer)

    def split(self, part: Part) -> CheckpointContents:
        """Return this process's parts of sharded tensors, which share their memory."""
        averaged = {average_stem(name): tensors for name, tensors in self.averages.items()}
        named = {WEIGHTS: self.model, **averaged, OPTIMIZER: split_state(self.optimizer)[0]}
        model, averages, optimizer = local_parts((self.model, self.averages, self.optimizer))
        rows = {stem: first_rows(tensors) for stem, tensors in named.items()}
        return replace(self, model=model, averages=averages, optimizer=optimizer, part=part, first_rows=rows)


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
        """Write all files; return those of tensors."""
        tensors, skeleton = split_state(contents.optimizer)
        files: list[tuple[str, Mapping[str, Tensor], dict[str, str]]] = [(WEIGHTS, contents.model, {})]
        files += [(average_stem(name), average, {}) for name, average in contents.averages.items()]
        files.append((OPTIMIZER, tensors, {"skeleton": skeleton}))
        part, rows = contents.part, contents.first_rows
        paths = [
            write_tensors(folder, stem, values, texts, part=part, first_rows=rows.get(stem))
            for stem, values, texts in files
        ]
        if part is None or part.index == 0:
            named = {"averages": list(contents.averages)} if set(contents.averages) - {EMA} else {}
            _write_json(folder / "state.json", {**contents.state, **named, "step": step, "run_id": self.run_id})
            _write_json(folder / "config.json", contents.config)
        return paths

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


def load_checkpoint(path: Path, *, verified: bool = False) -> CheckpointContents:
    """Return the contents of a complete checkpoint, which may be ``verified`` already.

    Raises InputError with the damage.
    """
    if not verified:
        refuse_damage(path, find_damage(path))
    tensors, texts = read_tensors(path, OPTIMIZER)
    return CheckpointContents(
        model=read_tensors(path, WEIGHTS)[0],
        optimizer=join_state(tensors, texts.get("skeleton", "null"), where=str(path)),
        state=read_object(path / "state.json"),
        config=read_object(path / "config.json"),
        averages={name: read_tensors(path, average_stem(name))[0] for name in kept_averages(path)},
    )


def load_state(path: Path) -> dict[str, Any]:
    """Return the plain values of a checkpoint's ``state.json``. Raises InputError."""
    return read_object(path / "state.json")


def needed_bytes(contents: CheckpointContents) -> int:
    """Return the approximate size of a checkpoint (bytes)."""
    tensors, skeleton = split_state(contents.optimizer)
    values = sum(map(tensor_bytes, (contents.model, tensors, *contents.averages.values())))
    return values + len(skeleton) + _ALLOWANCE


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


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
