"""Checkpoints of a run: save, find the newest valid one, load, and remove old ones."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from dit_run.compute.host_copies import host_copy
from dit_run.compute.sharding import gathered
from dit_run.problems import InputError
from dit_run.runs.checkpoint.commit import Damage, SaveFailed, commit, find_damage, remove
from dit_run.runs.checkpoint.optimizer_state import join_state, split_state
from dit_run.runs.checkpoint.safetensors_file import read_safetensors, tensor_bytes, write_safetensors
from dit_run.runs.checkpoint.weights import AVERAGES, WEIGHTS, refuse_damage
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
    ema: Mapping[str, Tensor] | None = None

    def copied(self) -> CheckpointContents:
        """Return them with copies of all tensors in host memory, which later training does not change."""
        model, ema, optimizer = host_copy((self.model, self.ema, self.optimizer))
        return replace(self, model=model, ema=ema, optimizer=optimizer)

    def gathered(self, *, keep: bool) -> CheckpointContents:
        """Return them with whole tensors in place of sharded ones; all processes call this, and some ``keep`` them."""
        tensors = {name: gathered(getattr(self, name), keep=keep) for name in ("model", "ema", "optimizer")}
        return replace(self, **tensors)


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

    def newest_valid(self) -> Newest:
        """Return the newest complete checkpoint of this run, every byte verified.

        Raises InputError if there are checkpoints and none is complete, because a new start would overwrite them.
        """
        passed_over: list[str] = []
        for path in reversed(self.paths()):
            damages = self._damages(path)
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
        owner = self._owner(path)
        if owner == self.run_id:
            _sync(path)
        elif owner is not None:
            raise SaveFailed(f"{path} is a checkpoint of another run, {owner}; move it away")
        else:
            commit(path, lambda folder: self._write(folder, step, contents), needed=needed_bytes(contents))
            self._known[path] = (_signature(path), self.run_id)
        return self._prune(path, limit, best_step, protect)

    def _write(self, folder: Path, step: int, contents: CheckpointContents) -> None:
        write_safetensors(folder / WEIGHTS, contents.model)
        if contents.ema is not None:
            write_safetensors(folder / AVERAGES, contents.ema)
        tensors, skeleton = split_state(contents.optimizer)
        write_safetensors(folder / "optimizer.safetensors", tensors, {"skeleton": skeleton})
        _write_json(folder / "state.json", {**contents.state, "step": step, "run_id": self.run_id})
        _write_json(folder / "config.json", contents.config)

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

    def _damages(self, path: Path) -> list[Damage]:
        damages = find_damage(path)
        if not damages and (owner := _run_id(path)) != self.run_id:
            return [Damage("state.json", f"belongs to another run, {owner}")]
        return damages


def load_checkpoint(path: Path) -> CheckpointContents:
    """Return the contents of a complete checkpoint. Raises InputError with the damage."""
    refuse_damage(path, find_damage(path))
    averaged = path / AVERAGES
    tensors, texts = read_safetensors(path / "optimizer.safetensors")
    return CheckpointContents(
        model=read_safetensors(path / WEIGHTS)[0],
        optimizer=join_state(tensors, texts.get("skeleton", "null"), where=str(path)),
        state=read_object(path / "state.json"),
        config=read_object(path / "config.json"),
        ema=read_safetensors(averaged)[0] if averaged.exists() else None,
    )


def load_state(path: Path) -> dict[str, Any]:
    """Return the plain values of a checkpoint's ``state.json``. Raises InputError."""
    return read_object(path / "state.json")


def needed_bytes(contents: CheckpointContents) -> int:
    """Return the approximate size of a checkpoint (bytes)."""
    tensors, skeleton = split_state(contents.optimizer)
    values = tensor_bytes(contents.model) + tensor_bytes(contents.ema or {}) + tensor_bytes(tensors)
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
