"""Signals: requests to stop and to save, exit statuses, and the end of child processes."""

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
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import Any

__all__ = [
    "HANDLED",
    "STATUS",
    "Interrupted",
    "StopRequest",
    "ended_by_interrupt",
    "ignore_signals",
    "kill_children",
    "timeout_seconds",
]

STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129, signal.SIGUSR2: 143}
"""Exit status after a stop by each signal. Schedulers send SIGUSR2 before the time of a job ends."""
HANDLED = (*STATUS, signal.SIGUSR1)
"""Signals that a run handles; SIGUSR1 asks it to save and continue."""
_RELAYED_WITHIN = 3.0
"""Time in which a repeated SIGINT counts as the same request (seconds): torchrun passes Ctrl-C on to processes that the
terminal has already signalled."""
_REMINDED_EVERY = 0.25
"""Time between two reminders of a stop (seconds)."""


class Interrupted(BaseException):
    """A stop was requested during work that can be given up. It is no Exception, so that plugins do not catch it."""


class StopRequest:
    """Record signals to stop in :attr:`signal` instead of ending the process, while the context is active.

    A second SIGINT ends the process at once. The previous handlers are restored at the end. Python allows handlers only
    in the main thread; in another thread signals keep their effect. A signal that is ignored, as SIGHUP is under nohup,
    stays ignored.
    """

    def __init__(self, *, relayed: bool | None = None) -> None:
        """Prepare the context; ``relayed`` is True if a launcher repeats signals, None detects torchrun."""
        self.signal: signal.Signals | None = None
        """The first signal that arrived."""
        self.save_requested = False
        """True after SIGUSR1, until the caller that saves sets it to False."""
        self._relayed = "TORCHELASTIC_RUN_ID" in os.environ if relayed is None else relayed
        self._interrupted: float | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._patience: float | None = None
        self._deadline: float | None = None
        self._main = threading.main_thread().ident or 0
        self._arrived = SimpleQueue[None]()  # no lock, for which a handler might wait where it interrupts its owner
        self._over = threading.Event()
        self._reminder = threading.Thread(target=self._remind, daemon=True)

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in HANDLED:
                if signal.getsignal(number) is not signal.SIG_IGN or number in (signal.SIGTERM, signal.SIGINT):
                    self._before[number] = signal.signal(number, self._note)
            self._reminder.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._patience = None
        self._over.set()
        self._arrived.put(None)
        if self._reminder.is_alive():
            self._reminder.join()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def status(self) -> int:
        """Exit status for the recorded signal; 0 without one."""
        return STATUS[self.signal] if self.signal else 0

    @contextlib.contextmanager
    def interrupting(self, *, after: float = 0.0) -> Iterator[None]:
        """Raise Interrupted in this context, wherever the main thread is, when a signal requests a stop.

        ``after`` is the time that work has to end by itself (seconds). Has no effect in another thread.
        """
        outer, self._patience, self._deadline = self._patience, after, None
        try:
            self._raise_if_due()
            yield
        finally:
            self._patience, self._deadline = outer, None

    @contextlib.contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Raise nothing in this context, inside of :meth:`interrupting`."""
        outer, self._patience = self._patience, None
        try:
            yield
        finally:
            self._patience = outer

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGUSR1:
            self.save_requested = True
            return
        self.signal = self.signal or signal.Signals(number)
        self._arrived.put(None)
        if number == signal.SIGINT:
            self._interrupt(time.monotonic())
        self._raise_if_due()

    def _raise_if_due(self) -> None:
        if self.signal is None or self._patience is None or not self._before:
            return
        if self._deadline is None:
            self._deadline = time.monotonic() + self._patience
        if time.monotonic() >= self._deadline:
            self._patience = None  # once: what cleans up is not interrupted
            raise Interrupted

    def _remind(self) -> None:
        """Send the signal again while the main thread is in a context that has to end."""
        self._arrived.get()
        while not self._over.wait(_REMINDED_EVERY):
            deadline = self._deadline
            if self._patience is not None and deadline is not None and time.monotonic() >= deadline:
                signal.pthread_kill(self._main, signal.SIGTERM)

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
    """Let SIGINT end the process at once, for use while there is nothing to save.

    KeyboardInterrupt is not reliable here: imports of large libraries can swallow it. A :class:`StopRequest` inside the
    context takes over the signal.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def ignore_signals() -> None:
    """Ignore stop signals in a child process, and end it when its parent dies.

    The training process decides when its children end. A forkserver lives as long as any of its children, so each child
    watches the parent itself.
    """
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def kill_children(others: Collection[BaseProcess]) -> None:
    """Kill all child processes except ``others``. SIGKILL is needed: they ignore other signals, and may be frozen."""
    for process in multiprocessing.active_children():
        if process not in others:
            process.kill()
            process.join()


_TIMEOUT_SECONDS = 1800.0
"""Default time limit for a silent process (seconds). The first process saves while the others wait."""


def timeout_seconds() -> float:
    """Return how long a process waits for another one (seconds).

    It is half an hour, or the value of the environment variable DIT_RUN_TIMEOUT.
    """
    return float(os.environ.get("DIT_RUN_TIMEOUT", _TIMEOUT_SECONDS))
