"""Reading ahead: the next batch is copied into pinned memory while the device works on this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["read_ahead"]

T = TypeVar("T")


def read_ahead(values: Iterator[T], release: Callable[[], None]) -> Iterator[T]:
    """Yield the values, each taken in a thread before it is asked for.

    ``release`` ends the wait for the next value; it is called at the end, and when the caller leaves.
    """
    with ThreadPoolExecutor(1, "read-ahead") as thread:
        try:
            ahead = thread.submit(next, values, None)
            while (value := ahead.result()) is not None:
                ahead = thread.submit(next, values, None)
                yield value
        finally:
            release()
