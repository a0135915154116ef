"""Background threads: work that runs while the caller continues."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["exit_past", "run_in_thread", "run_now"]

T = TypeVar("T")

_running: set[threading.Thread] = set()


def run_in_thread(call: Callable[[], T], *, needed: bool = False) -> Future[T]:
    """Call a function in a thread; the future holds its result or its exception.

    The exit of the interpreter waits for a ``needed`` one.
    """
    from concurrent.futures import Future

    result: Future[T] = Future()

    def work() -> None:
        _fulfil(result, call)
        _running.discard(threading.current_thread())

    thread = threading.Thread(target=work, daemon=not needed)
    if not needed:
        _running.add(thread)
    thread.start()
    return result


def run_now(call: Callable[[], T]) -> Future[T]:
    """Call a function; the future, which is done, holds its result or its exception."""
    from concurrent.futures import Future

    result: Future[T] = Future()
    _fulfil(result, call)
    return result


def _fulfil(result: Future[T], call: Callable[[], T]) -> None:
    try:
        result.set_result(call())
    except BaseException as error:  # noqa: BLE001  raised again where the result is asked for
        result.set_exception(error)


def exit_past(error: BaseException) -> None:
    """End the process at once if a background thread still runs; otherwise return.

    The exit status is that of ``error``, perhaps a SystemExit. A normal interpreter exit would stop the thread inside
    native code, which aborts the process.
    """
    if not _running:
        return
    status = error.code or 0 if isinstance(error, SystemExit) else 1
    if not isinstance(error, SystemExit):
        sys.excepthook(type(error), error, error.__traceback__)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # nobody is left to read it
    os._exit(status if isinstance(status, int) else 1)
