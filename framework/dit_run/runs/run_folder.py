"""The run folder: its layout, its owner, and the progress of its run."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from dit_run.problems import InputError
from dit_run.registry.plugin_files import PluginFile
from dit_run.runs.metrics_file import MetricsFile
from dit_run.runs.notices_file import NoticesFile
from dit_run.system.durable import make_folder, write_atomic
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
        self.metrics = MetricsFile(self.path / "metrics.jsonl")
        self.notices = NoticesFile(self.path / "notices.jsonl")
        self.sample_index = self.path / "samples.npy"
        self.samples = self.path / "samples"
        self.plugins = self.path / "plugins"
        self.checkpoints = self.path / "checkpoints"
        self.averages = self.path / "averages"
        self._lock = self.path / "lock"

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

    def claim(self) -> bytes:
        """Return what the owner wrote into the lock, which no other lock has."""
        return self._lock.read_bytes()

    def has_claim(self, claim: bytes, *, patience: float = 30.0) -> bool:
        """Return True if this process sees the owner's lock; a network file system may show it seconds later."""
        end = time.monotonic() + patience
        while True:
            with suppress(OSError):
                if self._lock.read_bytes() == claim:
                    return True
            if time.monotonic() >= end:
                return False
            time.sleep(0.2)

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
