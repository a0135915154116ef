"""Notices file: what a run reported in words, such as skipped samples and failed saves, one JSON object per line."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

__all__ = ["NoticesFile"]


class NoticesFile:
    """``notices.jsonl``: each line has ``time``, ``step`` and ``text``. Lines of earlier starts stay."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, step: int, text: str) -> None:
        """Append a notice. A disk that fails loses it: it may be what the notice is about, and ends no run."""
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="seconds"), "step": step, "text": text})
        with suppress(OSError), self.path.open("ab+") as file:
            file.write(_missing_end(file) + line.encode() + b"\n")


def _missing_end(file: BinaryIO) -> bytes:
    """Return the end of a line that a full disk or a crash cut, so that it does not damage the next one."""
    if not file.seek(0, os.SEEK_END):
        return b""
    file.seek(-1, os.SEEK_END)
    return b"" if file.read(1) == b"\n" else b"\n"
