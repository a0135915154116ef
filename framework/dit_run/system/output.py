"""Output: keep what other code writes out of standard output, which holds the result of a command."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

__all__ = ["output_to_stderr"]


@contextlib.contextmanager
def output_to_stderr() -> Iterator[None]:
    """Send what is written to standard output inside the block to standard error, also by C code and child processes.

    Only Python's own output is sent there if file descriptor 1 or 2 is closed.
    """
    with contextlib.redirect_stdout(sys.stderr):
        saved = _redirected()
        try:
            yield
        finally:
            if saved is not None:
                _flush_c()
                os.dup2(saved, 1)
                os.close(saved)


def _redirected() -> int | None:
    """Let file descriptor 1 be that of standard error; return a copy of the former one, or None."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.__stdout__.flush()  # type: ignore[union-attr]
    try:
        saved = os.dup(1)
    except OSError:
        return None
    try:
        os.dup2(2, 1)
    except OSError:
        os.close(saved)
        return None
    return saved


def _flush_c() -> None:
    """Write what C code printed and did not flush."""
    import ctypes  # for plugins only

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)
