"""Memory that is used again: fresh pages, which the system clears first, cost as much as resizing a picture."""

from __future__ import annotations

import math
import threading

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_KEPT_BYTES", "Scratch"]

MAX_KEPT_BYTES = 8 * 2**20
"""Of one array; larger ones are made anew each time."""


class Scratch(threading.local):
    """Arrays for passing values, by name; each thread has its own."""

    def __init__(self) -> None:
        self._kept: dict[str, NDArray[np.uint8]] = {}

    def array(self, name: str, *shape: int) -> NDArray[np.uint8]:
        """uint8 of this shape with any content, the caller's until this thread asks for the same name again."""
        count = math.prod(shape)
        if count > MAX_KEPT_BYTES:
            return np.empty(shape, dtype=np.uint8)
        kept = self._kept.get(name)
        if kept is None or kept.size < count:
            kept = self._kept[name] = np.empty(count, dtype=np.uint8)
        return kept[:count].reshape(shape)
