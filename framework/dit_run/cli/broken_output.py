"""Output that cannot be written, because of a closed pipe, a full disk or a closed stream."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import IO

__all__ = ["forget", "is_of_output", "replace_closed_streams"]

_WRITERS = ("dit_run.cli", "rich")
"""Modules that print. Files of a command are opened elsewhere, and their errors name them."""


def replace_closed_streams() -> None:
    """Open the standard streams that were closed before the start, as ``>&-`` does.

    Otherwise the next file that is opened takes the place of a stream, and gets what is printed. Writing to the new
    standard output fails, so that a command whose result is printed fails, too; messages to the new standard error get
    lost.
    """
    modes = {0: os.O_RDONLY, 1: os.O_RDONLY, 2: os.O_WRONLY}
    for number, mode in modes.items():
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def is_of_output(error: OSError) -> bool:
    """Return True if the error was raised by code that prints, not by work on a file."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    name = str(frame.f_globals.get("__name__"))
    return error.filename is None and any(name == writer or name.startswith(f"{writer}.") for writer in _WRITERS)


def forget(stream: IO[str]) -> None:
    """Discard the buffer of a stream and all later output, because the flush at the end of the process would fail."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
