"""Fork server: the process that workers are forked from, with all modules that they need imported."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker
from typing import Any

from dit_run.system.signals import HANDLED

__all__ = ["worker_context"]

_PRELOADED = ["dit_run.training.batches", "dit_run.data.images"]


def worker_context() -> Any:
    """Return the context in which workers start: forked from a process that has imported all modules they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    _start_forkserver()
    return context


def _start_forkserver() -> None:
    """Start the process that workers are forked from, with stop signals blocked in it.

    A service manager sends these signals to all processes of a run; without its forkserver, a worker counts as dead.
    Signals that arrive in this process during the start are handled after it.
    """
    with _safe_path():
        resource_tracker.ensure_running()  # before the signals are blocked, because it unblocks them
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _safe_path() -> Iterator[None]:
    """Keep Python processes that start meanwhile from importing modules of the working directory.

    A ``random.py`` there would replace Python's own.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before
