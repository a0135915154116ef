"""Loading processes: started alike everywhere, told apart from the data's own errors, never left behind."""

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
from dit_run.registry.fault_attribution import translate_plugin_fault
from dit_run.system.signals import STATUS, ignore_signals, kill_children, timeout_seconds

__all__ = ["Attempting", "LoadingFailed", "begin_worker", "loaded", "worker_context"]

_DYING = 2.0
"""Seconds between a killed process's last word, such as a broken connection, and its being gone."""
_PRELOADED = ["dit_run.training.batches", "dit_run.data.images"]


class LoadingFailed(DitRunError):
    """A loading process was killed, or answers no more."""


class Attempting:
    """A dataset of batches whose DitRunError travels as a value: raised there, it would arrive with a traceback."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitems__(self, positions: list[int]) -> Any:
        try:
            with translate_plugin_fault():
                return self._batches.__getitems__(positions)
        except DitRunError as error:
            return error


def worker_context() -> Any:
    """Processes forked from one that has imported all they need and computed nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    _start_out_of_reach()
    return context


def _start_out_of_reach() -> None:
    """Start the process that they are forked from with stop signals blocked, as a service manager sends them to all
    processes of a run: without it, loaders count as dead. What arrives here meanwhile is handled afterwards."""
    resource_tracker.ensure_running()  # before, because it unblocks the signals again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STATUS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_worker(worker: int) -> None:
    """The first call in a loading process."""
    ignore_signals()
    torch.set_num_threads(1)


def loaded(loader: DataLoader[Any]) -> Iterator[Any]:
    """What the loader's processes give, until it ends, fails or is closed; then none of them is left.

    Raises LoadingFailed where one was killed, or was silent for half an hour (or the seconds in the environment
    variable DIT_RUN_TIMEOUT).
    """
    others = set(multiprocessing.active_children())
    watchdog = _Watchdog(timeout_seconds(), others)
    iterator = iter(loader)
    workers = set(multiprocessing.active_children()) - others
    try:
        while (batch := watchdog.watch(iterator)) is not None:
            if isinstance(batch, DitRunError):
                raise batch
            yield batch
    except (RuntimeError, EOFError, OSError) as error:
        if not wait([worker.sentinel for worker in workers], timeout=_DYING):
            raise
        raise LoadingFailed(
            f"{watchdog.verdict or 'a loading process was killed, perhaps for want of memory'}. The same command "
            "continues from the last checkpoint; with training.num_workers=0 loading runs in the training process"
        ) from error
    finally:
        watchdog.end()
        kill_children(others)


class _Watchdog:
    """A thread that kills loading processes which let the training process wait too long: their loader then fails,
    while it would wait for a frozen one for ever."""

    def __init__(self, seconds: float, others: set[BaseProcess]) -> None:
        self.verdict = ""
        self._seconds = seconds
        self._others = others
        self._waiting_since: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def watch(self, iterator: Iterator[Any]) -> Any:
        """The next batch; None at the end."""
        self._waiting_since = time.monotonic()
        try:
            return next(iterator, None)
        finally:
            self._waiting_since = None

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(min(self._seconds / 4, 10.0)):
            since = self._waiting_since
            if since is not None and time.monotonic() - since > self._seconds:
                self.verdict = f"no loading process answered for {self._seconds:g} seconds"
                kill_children(self._others)
