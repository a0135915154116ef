"""Units: sizes and durations as people write and read them."""

from __future__ import annotations

import re
from decimal import Decimal

__all__ = ["duration_text", "read_size", "size_text"]

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(?:([KMGT])(i?))?B?", re.IGNORECASE)
_UNITS = "KMGT"


def size_text(count: float) -> str:
    """Return a number of bytes in GB, MB or kB, in powers of 1000."""
    if count >= 1e9:
        return f"{count / 1e9:.2f} GB"
    if count >= 1e6:
        return f"{count / 1e6:.{1 if count < 1e7 else 0}f} MB"
    return f"{count / 1e3:.0f} kB"


def duration_text(seconds: float) -> str:
    """Return a duration in its two largest units: ``14s``, ``2m05s``, ``1h02m``, ``3d04h``."""
    if seconds < 60:
        return f"{round(seconds, 1):g}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h"
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


def read_size(text: str) -> int:
    """Return the bytes of a size such as 50GB (powers of 1000) or 50GiB (powers of 1024). Raises ValueError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"a size such as 24GB or 800MB is expected, not {text!r}")
    power = _UNITS.index(found[2].upper()) + 1 if found[2] else 0
    return int(Decimal(found[1]) * (1024 if found[3] else 1000) ** power)
