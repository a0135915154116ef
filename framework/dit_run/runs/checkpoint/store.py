"""A run's checkpoints: saving, finding the newest valid one, loading, and which are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from dit_run.problems import InputError
from dit_run.runs.checkpoint.commit import Damage, SaveFailed, commit, remove, verify
from dit_run.runs.checkpoint.optimizer_state import join, split
from dit_run.runs.checkpoint.safetensors_file import read_tensors, tensor_bytes, write_tensors
from dit_run.system.durable import sync_folder

__all__ = [
    "CheckpointContents",
    "Checkpoints",
    "Newest",
    "PassedOver",
    "Saved",
    "load",
    "load_state",
    "load_weights",
    "needed_bytes",
]

_NAME = re.compile(r"step-(\d{8,})")
_ALLOWANCE = 1 << 20
"""Bytes for JSON, headers and the file system's own use."""


@dataclass(frozen=True)
class CheckpointContents:
    """What a checkpoint holds. Tensors may be on any device; loaded ones are on the CPU."""

    model: Mapping[str, Tensor]
    """Parameters and buffers of everything that trains."""
    optimizer: Mapping[str, Any]
    """An optimizer's state_dict."""
    state: Mapping[str, Any]
    """Plain JSON values, floats finite; ``step`` and ``run_id`` are added when saving."""
    config: Mapping[str, Any]
    """The resolved config, plain values."""
    ema: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class PassedOver:
    """A checkpoint that cannot be continued from, and why."""

    path: Path
    damages: tuple[Damage, ...]

    def __str__(self) -> str:
        return f"{self.path.name} ({'; '.join(map(str, self.damages))})"


@dataclass(frozen=True)
class Newest:
    """Where a run continues; ``path`` is None where there are no checkpoints."""

    path: Path | None
    passed_over: tuple[PassedOver, ...] = ()
    """Newer ones, newest first."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint is on the disk."""

    path: Path
    removed: tuple[Path, ...] = ()
    """Older ones that made room for it."""
    notices: tuple[str, ...] = ()
    """Old ones that should have gone and could not."""


@dataclass
class Checkpoints:
    """The folder ``checkpoints`` of the run with this id. Only the process that holds the run's lock may save."""

    folder: Path
    run_id: str
    _known: dict[Path, tuple[tuple[int, ...], str | None]] = field(default_factory=dict)
    """By path: the state of its files when it was found whole, and its run's id."""

    def newest_valid(self) -> Newest:
        """The newest checkpoint of this run that is whole, every byte verified.

        Raises InputError where there are checkpoints of it and none is whole: starting again would overwrite them.
        """
        passed_over: list[PassedOver] = []
        for path in reversed(self.paths()):
            damages = tuple(self._damages(path))
            if not damages:
                self._known[path] = (_signature(path), self.run_id)
                return Newest(path, tuple(passed_over))
            passed_over.append(PassedOver(path, damages))
        if passed_over:
            raise InputError(
                f"{self.folder} has checkpoints and none can be continued from: "
                f"{', '.join(map(str, passed_over))}. Restore one, or start another run with --fresh DIR"
            )
        return Newest(None)

    def paths(self) -> list[Path]:
        """All folders named like checkpoints, whole or not, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted((path for path in self.folder.iterdir() if _step_of(path) is not None), key=_order)

    def whole(self, path: Path) -> bool:
        """Whether a checkpoint is this run's and every byte of it is as it was written."""
        return self._owner(path) == self.run_id

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is or would be."""
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
        """Save after ``step`` steps, then remove the oldest beyond ``limit`` (at least 2; None keeps all).

        Among those kept are ``best_step`` and the steps in ``protect``; damaged ones and another run's neither count
        nor go. A whole checkpoint of this step stays as it is. Raises SaveFailed where the disk is full or fails:
        everything that was there still is.
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
        write_tensors(folder / "model.safetensors", contents.model)
        if contents.ema is not None:
            write_tensors(folder / "ema.safetensors", contents.ema)
        tensors, skeleton = split(contents.optimizer)
        write_tensors(folder / "optimizer.safetensors", tensors, {"skeleton": skeleton})
        _write_json(folder / "state.json", {**contents.state, "step": step, "run_id": self.run_id})
        _write_json(folder / "config.json", contents.config)

    def _prune(self, newest: Path, limit: int | None, best_step: int | None, protect: Collection[int]) -> Saved:
        if limit is None:
            return Saved(newest)
        own = [path for path in self.paths() if self.whole(path)]
        removed, notices = [], []
        for path in _superfluous(own, max(limit, 2), best_step, protect):
            try:
                remove(path)
                removed.append(path)
            except OSError as error:
                notices.append(f"the old checkpoint {path} could not be removed: {error.strerror or error}")
        return Saved(newest, tuple(removed), tuple(notices))

    def _owner(self, path: Path) -> str | None:
        """Whose whole checkpoint it is, None for a damaged one; verified again only where its files changed since."""
        signature = _signature(path)
        if self._known.get(path, (None, None))[0] != signature:
            self._known[path] = (signature, None if verify(path) else _run_id(path))
        return self._known[path][1]

    def _damages(self, path: Path) -> list[Damage]:
        damages = verify(path)
        if not damages and (owner := _run_id(path)) != self.run_id:
            return [Damage("state.json", f"belongs to another run, {owner}")]
        return damages


def load(path: Path) -> CheckpointContents:
    """The contents of a checkpoint that is whole. Raises InputError naming what is wrong with it."""
    _refuse_damaged(path)
    averaged = path / "ema.safetensors"
    tensors, texts = read_tensors(path / "optimizer.safetensors")
    return CheckpointContents(
        model=read_tensors(path / "model.safetensors")[0],
        optimizer=join(tensors, texts.get("skeleton", "null"), where=str(path)),
        state=_read_json(path / "state.json"),
        config=_read_json(path / "config.json"),
        ema=read_tensors(averaged)[0] if averaged.exists() else None,
    )


def load_weights(path: Path, *, ema: bool) -> dict[str, Tensor]:
    """The model's tensors of a checkpoint, or with ``ema`` their average where it has one. Raises InputError."""
    _refuse_damaged(path)
    averaged = path / "ema.safetensors"
    return read_tensors(averaged if ema and averaged.exists() else path / "model.safetensors")[0]


def load_state(path: Path) -> dict[str, Any]:
    """Return the plain values of a checkpoint's ``state.json``. Raises InputError."""
    return _read_json(path / "state.json")


def needed_bytes(contents: CheckpointContents) -> int:
    """About how many bytes saving takes."""
    tensors, skeleton = split(contents.optimizer)
    values = tensor_bytes(contents.model) + tensor_bytes(contents.ema or {}) + tensor_bytes(tensors)
    return values + len(skeleton) + _ALLOWANCE


def _superfluous(own: list[Path], limit: int, best_step: int | None, protect: Collection[int]) -> list[Path]:
    """Which of a run's whole checkpoints, oldest first, go when ``limit`` are kept: the newest, the best among them."""
    kept = {_step_of(path) for path in own if _step_of(path) in {best_step, *protect}} | {_step_of(own[-1])}
    for path in reversed(own):
        if len(kept) >= limit:
            break
        kept.add(_step_of(path))
    return [path for path in own if _step_of(path) not in kept]


def _refuse_damaged(path: Path) -> None:
    damages = verify(path)
    if damages:
        raise InputError(f"the checkpoint {path} is damaged: {'; '.join(map(str, damages))}")


def _step_of(path: Path) -> int | None:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else None


def _order(path: Path) -> int:
    return _step_of(path) or 0


def _signature(path: Path) -> tuple[int, ...]:
    """What changes when a file of the folder is touched; empty where it cannot be read."""
    with suppress(OSError):
        stats = [file.stat() for file in sorted(path.iterdir())]
        return tuple(number for s in stats for number in (s.st_ino, s.st_size, s.st_mtime_ns))
    return ()


def _run_id(path: Path) -> str | None:
    try:
        return str(_read_json(path / "state.json").get("run_id"))
    except InputError:
        return None


def _sync(path: Path) -> None:
    try:
        sync_folder(path.parent)
    except OSError as error:
        raise SaveFailed(f"{path} could not be synced: {error.strerror or error}") from error


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} should hold a JSON object, not {type(value).__name__}")
    return value
