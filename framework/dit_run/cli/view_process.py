"""The page of a run in a process of its own, next to the one that trains."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["page_of"]

_POLITENESS = 10
"""Niceness of the process, so that training comes first."""
_PATIENCE = 5.0
"""Time in which the process must end (s)."""


@contextlib.contextmanager
def page_of(run_dir: Path) -> Iterator[str | None]:
    """Serve the page of a run, which may not exist yet, until the context or this process ends; give the link.

    The link is None where the page did not start; its error is on standard error then.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "dit_run", "view", str(run_dir), "--with-parent"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a signal for the run is not one for its page
    )
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, process.pid, _POLITENESS)
    try:
        yield process.stdout.readline().strip() or None
    finally:
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
