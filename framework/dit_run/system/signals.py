"""Signals: a run asked to stop finishes its step, saves and leaves."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Collection, Iterator
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType, TracebackType
from typing import Any

__all__ = ["STATUS", "StopRequest", "ended_by_interrupt", "ignore_signals", "kill_children", "timeout_seconds"]

STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130}
"""Exit status after a stop."""
_RELAYED_WITHIN = 3.0
"""Seconds. On Ctrl-C torchrun passes on the signal that the terminal has sent already: one wish, not two."""


class StopRequest:
    """While entered, SIGTERM and SIGINT set :attr:`signal` instead of ending the process; a second SIGINT ends it at
    once. Afterwards the old handlers are back. Python allows handlers in the main thread alone: in another thread,
    signals keep their effect."""

    def __init__(self, *, relayed: bool | None = None) -> None:
        """``relayed``: whether a launcher repeats signals; None looks for torchrun in the environment."""
        self.signal: signal.Signals | None = None
        """The first signal that came."""
        self._relayed = "TORCHELASTIC_RUN_ID" in os.environ if relayed is None else relayed
        self._interrupted: float | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in STATUS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def status(self) -> int:
        """Exit status for the signal that came; 0 for none."""
        return STATUS[self.signal] if self.signal else 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or signal.Signals(number)
        if number == signal.SIGINT:
            self._interrupt(time.monotonic())

    def _interrupt(self, now: float) -> None:
        if self._interrupted is None:
            self._interrupted = now
            if not self._relayed:
                # From now on the kernel ends the process, even one that is stuck where no Python code runs.
                signal.signal(signal.SIGINT, signal.SIG_DFL)
        elif now - self._interrupted > _RELAYED_WITHIN:
            os._exit(STATUS[signal.SIGINT])


@contextlib.contextmanager
def ended_by_interrupt() -> Iterator[None]:
    """While nothing is there to save, SIGINT ends the process, as KeyboardInterrupt does not for sure: among the
    imports of large libraries it can be swallowed. A :class:`StopRequest` inside takes the signal over."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def ignore_signals() -> None:
    """For helper processes: the training process decides when they end, and when it dies they die with it.

    A forkserver lives as long as any process it made, so a helper has to look for the process that wanted it.
    """
    for number in STATUS:
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def kill_children(others: Collection[BaseProcess]) -> None:
    """Kill all but ``others``: they ignore what a launcher sends, and a frozen one everything but this."""
    for process in multiprocessing.active_children():
        if process not in others:
            process.kill()
            process.join()


_TIMEOUT_SECONDS = 1800.0
"""While the others wait, the first process validates and saves."""


def timeout_seconds() -> float:
    """How long a process waits for another before it gives up: half an hour, or the seconds in the environment
    variable DIT_RUN_TIMEOUT."""
    return float(os.environ.get("DIT_RUN_TIMEOUT", _TIMEOUT_SECONDS))
