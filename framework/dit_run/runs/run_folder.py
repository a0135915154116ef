"""The run folder: its layout, its owner, and the progress of its run."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from dit_run.problems import InputError
from dit_run.registry.plugin_files import PluginFile
from dit_run.system.durable import make_folder, sync_file, sync_folder, write_atomic
from dit_run.system.json_files import read_object

__all__ = ["RunFolder", "RunState", "Status", "place_of"]

RunState = Literal["running", "interrupted", "finished", "failed"]
Status = Mapping[str, Any]
"""Keys ``state``, ``step``, ``reason``, ``pid``, ``host`` and ``time``, and the record of what watches the run:
``watched``, ``unfinished``, ``failures`` and ``best``."""


class RunFolder:
    """The layout of a run folder, and all its files except checkpoints, samples and the files of trackers."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.config = self.path / "config.yaml"
        self.provenance = self.path / "provenance.json"
        self.status = self.path / "status.json"
        self.metrics = self.path / "metrics.jsonl"
        self.sample_index = self.path / "samples.npy"
        self.samples = self.path / "samples"
        self.plugins = self.path / "plugins"
        self.checkpoints = self.path / "checkpoints"
        self._lock = self.path / "lock"
        self._unwritten = b""
        self._end: int | None = None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Own the folder, which is created if it is missing, until the context or the process ends.

        Raises InputError with the owner's name if another process owns it.
        """
        descriptor = self._open_lock()
        held = {descriptor}
        # A forked helper that outlives this process would keep the lock with the file it inherits.
        os.register_at_fork(after_in_child=lambda: _close_all(held))
        try:
            self._take(descriptor)
            yield
        finally:
            _close_all(held)

    def remove_if_empty(self) -> None:
        """Remove a folder that holds only its lock; its owner calls this if a run never started."""
        if [path.name for path in self.path.iterdir()] == [self._lock.name]:
            self._lock.unlink()
            self.path.rmdir()

    def run_id(self) -> str:
        """Return the id of the run, which its checkpoints carry: from its provenance, or a new one."""
        if not self.provenance.exists():
            return uuid.uuid4().hex
        found = read_object(self.provenance).get("run_id")
        if not isinstance(found, str):
            raise InputError(
                f"{self.provenance} has no run_id; restore the file, or start another run with --fresh DIR"
            )
        return found

    def write_config(self, text: str) -> None:
        """Write ``config.yaml``, the resolved config, which is runnable."""
        write_atomic(self.config, text.encode())

    def write_provenance(
        self, values: Mapping[str, Any], *, run_id: str, origin: Mapping[str, Any] | None = None
    ) -> None:
        """Write ``provenance.json``: the id, the first start, and each later start under ``continued``.

        ``origin`` is the run and step that a fork begins with, kept as ``forked_from``.
        """
        if self.provenance.exists():
            kept = read_object(self.provenance)
            kept.setdefault("continued", []).append(dict(values))
        else:
            kept = {"run_id": run_id, **({"forked_from": dict(origin)} if origin else {}), **values}
        write_atomic(self.provenance, _json_bytes(kept))

    def plugin_records(self) -> list[Mapping[str, Any]]:
        """Return the plugin record of each component at the latest start; empty if there is no readable run."""
        with suppress(InputError, LookupError, TypeError):
            kept = read_object(self.provenance)
            starts = [kept, *kept.get("continued", [])]
            return list(starts[-1]["plugins"])
        return []

    def write_sample_index(self, content: bytes) -> None:
        """Write ``samples.npy``, the hashes of the training samples, by which a changed dataset is described."""
        if not self.sample_index.exists() or self.sample_index.read_bytes() != content:
            write_atomic(self.sample_index, content)

    def write_status(
        self, state: RunState, *, step: int, reason: str = "", record: Mapping[str, Any] | None = None
    ) -> None:
        """Write ``status.json``: the progress of a run, or how it ended, and its record of watching."""
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "time": _now()}
        write_atomic(
            self.status, _json_bytes({"state": state, "step": step, "reason": reason, **(record or {}), **owner})
        )

    def write_report(self, name: str, values: Mapping[str, Any]) -> None:
        """Write a file that describes a failure."""
        write_atomic(self.path / name, _json_bytes(values))

    def read_status(self) -> Status | None:
        """Return the last status; None if there is none that can be read."""
        with suppress(InputError):
            return read_object(self.status)
        return None

    def record(self, values: Mapping[str, Any]) -> None:
        """Append an object, which has a value ``step``, to ``metrics.jsonl``.

        If the disk is full or fails, the line waits for the next call; :meth:`sync_metrics` raises the error.
        """
        self._unwritten += json.dumps(values).encode() + b"\n"
        with suppress(OSError):
            self._append()

    def sync_metrics(self) -> None:
        """Force all recorded lines to the disk; called before a checkpoint is committed. Raises OSError."""
        if self._unwritten:
            self._append()
        if self.metrics.exists():
            sync_file(self.metrics)
            sync_folder(self.path)

    def _append(self) -> None:
        """Write the waiting lines, after removing the part of them that an earlier call wrote."""
        descriptor = os.open(self.metrics, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            self._end = size if self._end is None else self._end
            if size != self._end:
                os.ftruncate(descriptor, self._end)
            written = os.write(descriptor, self._unwritten)
            if written != len(self._unwritten):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.metrics))
        finally:
            os.close(descriptor)
        self._end += written
        self._unwritten = b""

    def rewind_metrics(self, step: int) -> None:
        """Remove records after ``step`` and a line that a crash cut, before a run continues from there."""
        if not self.metrics.exists():
            return
        lines = self.metrics.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if _recorded_by(line, step)]
        if kept != lines:
            write_atomic(self.metrics, b"".join(kept))

    def recorded(self, step: int) -> dict[str, Any]:
        """Return what was recorded of a step, the last one of a file that :meth:`rewind_metrics` has read."""
        lines = self.metrics.read_bytes().splitlines() if self.metrics.exists() else []
        last = json.loads(lines[-1]) if lines else {}
        return dict(last) if last.get("step") == step else {}

    def keep_plugin(self, file: PluginFile) -> Path:
        """Copy a plugin file, as it was loaded, into the folder; return the path of the copy.

        If a different file of the same name exists, the name of the copy contains the digest.
        """
        copy = self.plugins / file.path.name
        if copy.exists() and copy.read_bytes() != file.source:
            copy = self.plugins / f"{file.path.stem}_{file.digest[:12]}{file.path.suffix}"
        if not copy.exists():
            make_folder(self.plugins)
            write_atomic(copy, file.source)
        return copy

    def _open_lock(self) -> int:
        try:
            make_folder(self.path)
            return os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise InputError(f"{self.path} cannot be the run folder (training.output_dir): {error.strerror}") from error

    def _take(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{self.path} is in use by {self._owner()}; wait for it, stop it, or choose another training.output_dir"
            ) from None
        except OSError as error:
            raise InputError(
                f"{self._lock} cannot be locked ({error.strerror}): put training.output_dir on a file "
                "system that has locks"
            ) from error
        with suppress(OSError):  # who it is only serves a message
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, _json_bytes({"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}), 0)

    def _owner(self) -> str:
        with suppress(InputError):
            owner = read_object(self._lock)
            return f"process {owner.get('pid')} on {owner.get('host')} since {owner.get('since')}"
        return "another process"


def _recorded_by(line: bytes, step: int) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False


def _json_bytes(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _close_all(descriptors: set[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def place_of(run_dir: Path) -> Path:
    """Return the run folder, or the nearest existing folder above it."""
    folder = run_dir.absolute()
    while not folder.is_dir():
        folder = folder.parent
    return folder
