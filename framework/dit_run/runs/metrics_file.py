"""Metrics file: the values that a run logs, one JSON object per line, each with its ``step``."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dit_run.system.durable import sync_file, sync_folder, write_atomic

__all__ = ["MetricsFile"]


class MetricsFile:
    """``metrics.jsonl``: written by one process, of which any thread may sync it, and read by any."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._unwritten = b""
        self._end: int | None = None
        self._writing = threading.Lock()

    def append(self, values: Mapping[str, Any]) -> None:
        """Append an object, which has a value ``step``.

        If the disk is full or fails, the line waits for the next call; :meth:`sync` raises the error.
        """
        with self._writing:
            self._unwritten += json.dumps(values).encode() + b"\n"
            with suppress(OSError):
                self._write()

    def sync(self) -> None:
        """Force all lines to the disk; called before a checkpoint is committed. Raises OSError."""
        with self._writing:
            if self._unwritten:
                self._write()
        if self.path.exists():
            sync_file(self.path)
            sync_folder(self.path.parent)

    def rewind(self, step: int) -> None:
        """Remove lines after ``step`` and a line that a crash cut, before a run continues from there."""
        lines = self._lines()
        kept = [line for line in lines if _logged_by(line, step)]
        if kept != lines:
            write_atomic(self.path, b"".join(kept))

    def read(self) -> list[dict[str, Any]]:
        """Return all objects. The last line is left out while its end is not written."""
        return [json.loads(line) for line in self._lines() if line.endswith(b"\n")]

    def last(self, step: int) -> dict[str, Any]:
        """Return the values of ``step`` if they are the last in the file, otherwise an empty dict."""
        lines = self._lines()
        last = json.loads(lines[-1]) if lines else {}
        return dict(last) if last.get("step") == step else {}

    def _lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []

    def _write(self) -> None:
        """Write the waiting lines, after removing the part of them that an earlier call wrote."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            self._end = size if self._end is None else self._end
            if size != self._end:
                os.ftruncate(descriptor, self._end)
            written = os.write(descriptor, self._unwritten)
            if written != len(self._unwritten):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        finally:
            os.close(descriptor)
        self._end += written
        self._unwritten = b""


def _logged_by(line: bytes, step: int) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False
