"""Output that cannot be written: a closed pipe, a full disk."""

from __future__ import annotations

import contextlib
import os
import traceback
from typing import IO

__all__ = ["forget", "is_of_output"]

_WRITERS = ("dit_run.cli", "rich")
"""Where output is written; files that commands write are opened by others, and named in their errors."""


def is_of_output(error: OSError) -> bool:
    """Whether it was raised by what prints, and not by work on a file."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    name = str(frame.f_globals.get("__name__"))
    return error.filename is None and any(name == writer or name.startswith(f"{writer}.") for writer in _WRITERS)


def forget(stream: IO[str]) -> None:
    """What waits in a stream, and all that follows, goes nowhere: else its flush at the process's end would fail."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
