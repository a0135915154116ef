"""Scratch memory: arrays that are used again. The system clears new pages, which costs as much as resizing an image."""

from __future__ import annotations

import math
import threading

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_KEPT_BYTES", "Scratch"]

MAX_KEPT_BYTES = 8 * 2**20
"""Size limit of one kept array (bytes); larger arrays are allocated each time."""


class Scratch(threading.local):
    """Arrays for temporary values, by name; each thread has its own."""

    def __init__(self) -> None:
        self._kept: dict[str, NDArray[np.uint8]] = {}

    def array(self, name: str, *shape: int) -> NDArray[np.uint8]:
        """Return uint8 of this shape with any content.

        It belongs to the caller until this thread asks for the name again.
        """
        count = math.prod(shape)
        if count > MAX_KEPT_BYTES:
            return np.empty(shape, dtype=np.uint8)
        kept = self._kept.get(name)
        if kept is None or kept.size < count:
            kept = self._kept[name] = np.empty(count, dtype=np.uint8)
        return kept[:count].reshape(shape)
