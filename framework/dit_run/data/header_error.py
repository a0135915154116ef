"""The error of image headers."""

from __future__ import annotations

__all__ = ["HeaderError"]


class HeaderError(ValueError):
    """The format is unknown or the structure is broken; the message says what was found."""
