"""Background: work that goes on beside the rest, and that nothing waits for but who asks for its result."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["exit_past", "run_in_thread"]

T = TypeVar("T")

_at_work: set[threading.Thread] = set()


def run_in_thread(call: Callable[[], T]) -> Future[T]:
    """The call's result to come, or its error where the result is asked for."""
    from concurrent.futures import Future

    result: Future[T] = Future()

    def fulfil() -> None:
        try:
            result.set_result(call())
        except BaseException as error:  # noqa: BLE001  raised again where the result is asked for
            result.set_exception(error)
        finally:
            _at_work.discard(threading.current_thread())

    thread = threading.Thread(target=fulfil, daemon=True)
    _at_work.add(thread)
    thread.start()
    return result


def exit_past(error: BaseException) -> None:
    """End the process with the status that this error, perhaps a SystemExit, means, where something is still at work;
    else return. The interpreter's own end would tear such a thread out of native code, which aborts the process."""
    if not _at_work:
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
