"""Output that cannot be written, because of a closed pipe or a full disk."""

from __future__ import annotations

import contextlib
import os
import traceback
from typing import IO

__all__ = ["forget", "is_of_output"]

_WRITERS = ("dit_run.cli", "rich")
"""Modules that print. Files of a command are opened elsewhere, and their errors name them."""


def is_of_output(error: OSError) -> bool:
    """Return True if the error was raised by code that prints, not by work on a file."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    name = str(frame.f_globals.get("__name__"))
    return error.filename is None and any(name == writer or name.startswith(f"{writer}.") for writer in _WRITERS)


def forget(stream: IO[str]) -> None:
    """Discard the buffer of a stream and all later output, because the flush at the end of the process would fail."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
