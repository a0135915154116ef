"""A record of the options that a plugin reads."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from dit_run.options import options_of

__all__ = ["recorded"]

_GENERATED = "<string>"
"""File name of the methods that dataclasses generates."""


@contextlib.contextmanager
def recorded(cls: type) -> Iterator[set[str]]:
    """Yield a set that collects the names of the options that a plugin reads inside the block.

    Reads by the core and by the dataclass itself do not count. Reading ``vars(options)`` counts as reading all options.
    """
    names = {option.name for option in options_of(cls)}
    seen: set[str] = set()

    def read(self: Any, name: str) -> Any:
        if (name in names or name == "__dict__") and _counts(sys._getframe(1)):
            seen.update(names if name == "__dict__" else {name})
        return object.__getattribute__(self, name)

    cls.__getattribute__ = read  # type: ignore[method-assign, assignment]
    try:
        yield seen
    finally:
        del cls.__getattribute__  # type: ignore[attr-defined]


def _counts(frame: FrameType | None) -> bool:
    """Return True if a plugin reads; a read by dataclasses belongs to its caller."""
    while frame is not None and frame.f_globals.get("__name__") == "dataclasses":
        frame = frame.f_back
    if frame is None or frame.f_code.co_filename == _GENERATED:
        return False
    return str(frame.f_globals.get("__name__", "")).split(".")[0] != "dit_run"
