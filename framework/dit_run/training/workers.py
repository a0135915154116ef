"""Workers: the processes that load batches. They start alike on every system, and none outlives its loader."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.utils.data import DataLoader

from dit_run.problems import DitRunError
from dit_run.system.signals import STATUS, ignore_signals, kill_children, timeout_seconds

__all__ = ["WorkerFailed", "iterate_loader", "start_worker", "worker_context"]

_DYING = 2.0
"""Time from a killed worker's broken connection to its end (seconds)."""
_PRELOADED = ["dit_run.training.batches", "dit_run.data.images"]


class WorkerFailed(DitRunError):
    """A worker was killed, or does not answer any more."""


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
    resource_tracker.ensure_running()  # before the signals are blocked, because it unblocks them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STATUS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker(worker: int) -> None:
    """Prepare a worker: ignore the signals that stop a run, and compute in one thread."""
    ignore_signals()
    torch.set_num_threads(1)


def iterate_loader(loader: DataLoader[Any]) -> Iterator[Any]:
    """Yield the loader's batches; at the end, after a failure and when closed, no worker is left.

    A batch that is a DitRunError is raised. Raises WorkerFailed where a worker was killed, or did not answer for half
    an hour (or the seconds in the environment variable DIT_RUN_TIMEOUT).
    """
    others = set(multiprocessing.active_children())
    watchdog = _Watchdog(timeout_seconds(), others)
    iterator = iter(loader)
    workers = set(multiprocessing.active_children()) - others
    try:
        while (batch := watchdog.next_batch(iterator)) is not None:
            if isinstance(batch, DitRunError):
                raise batch
            yield batch
    except (RuntimeError, EOFError, OSError) as error:
        if not wait([worker.sentinel for worker in workers], timeout=_DYING):
            raise
        raise WorkerFailed(
            f"{watchdog.verdict or 'a worker was killed, perhaps because memory ran out'}. The same command continues "
            "from the last checkpoint; with training.num_workers=0 batches are loaded in the training process"
        ) from error
    finally:
        watchdog.stop()
        kill_children(others)


class _Watchdog:
    """A thread that kills workers on which training waits too long; a DataLoader waits for a frozen one for ever."""

    def __init__(self, seconds: float, others: set[BaseProcess]) -> None:
        self.verdict = ""
        self._seconds = seconds
        self._others = others
        self._waiting_since: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def next_batch(self, iterator: Iterator[Any]) -> Any:
        """Return the next batch; None at the end."""
        self._waiting_since = time.monotonic()
        try:
            return next(iterator, None)
        finally:
            self._waiting_since = None

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(min(self._seconds / 4, 10.0)):
            since = self._waiting_since
            if since is not None and time.monotonic() - since > self._seconds:
                self.verdict = f"no worker answered for {self._seconds:g} seconds"
                kill_children(self._others)
