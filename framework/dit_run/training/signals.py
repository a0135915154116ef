"""Signals: a run asked to stop finishes its step, saves and leaves."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any

__all__ = ["STATUS", "StopRequest", "ignore_signals"]

STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130}
"""Exit status after a stop."""


class StopRequest:
    """While entered, SIGTERM and SIGINT set :attr:`signal` instead of ending the process; a second SIGINT ends it at
    once. Afterwards the old handlers are back."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in STATUS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def status(self) -> int:
        """Exit status for the signal that came."""
        return STATUS[self.signal] if self.signal else 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            os._exit(STATUS[signal.SIGINT])
        self.signal = signal.Signals(number)


def ignore_signals() -> None:
    """For loading processes: the training process decides when they end."""
    for number in STATUS:
        signal.signal(number, signal.SIG_IGN)
