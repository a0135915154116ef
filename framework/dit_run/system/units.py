"""Units: sizes of files as people write and read them."""

from __future__ import annotations

import re
from decimal import Decimal

__all__ = ["read_size", "size_text"]

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(?:([KMGT])(i?))?B?", re.IGNORECASE)
_UNITS = "KMGT"


def size_text(count: int) -> str:
    """Return a number of bytes as text, in GB from 0.1 GB on, else in MB."""
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"


def read_size(text: str) -> int:
    """Return the bytes of a size such as 50GB (powers of 1000) or 50GiB (powers of 1024). Raises ValueError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"a size such as 24GB or 800MB is expected, not {text!r}")
    power = _UNITS.index(found[2].upper()) + 1 if found[2] else 0
    return int(Decimal(found[1]) * (1024 if found[3] else 1000) ** power)
