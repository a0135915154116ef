"""Sizes of files, in words that people write and read."""

from __future__ import annotations

import re
from decimal import Decimal

__all__ = ["read_size", "size_text"]

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)i?B?", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def size_text(count: int) -> str:
    """Bytes in GB from a tenth of one, else in MB."""
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"


def read_size(text: str) -> int:
    """Bytes of a size such as 50GB. Raises ValueError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"a size such as 24GB or 800MB is expected, not {text!r}")
    return int(Decimal(found[1]) * _UNITS[found[2].upper()])
