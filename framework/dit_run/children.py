"""Children: processes that this one started to read and load, and their end."""

from __future__ import annotations

import multiprocessing
from collections.abc import Collection
from multiprocessing.process import BaseProcess

__all__ = ["kill_children"]


def kill_children(others: Collection[BaseProcess]) -> None:
    """Kill all but ``others``: they ignore what a launcher sends, and a frozen one everything but this."""
    for process in multiprocessing.active_children():
        if process not in others:
            process.kill()
            process.join()
