"""URLs: texts that name a file on a server instead of a path."""

from __future__ import annotations

import re

__all__ = ["is_url"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::[A-Za-z][A-Za-z0-9+.-]*)*://")


def is_url(text: str) -> bool:
    """Return True for a text such as ``https://host/a.tar``, ``s3://bucket/a.tar`` or ``simplecache::gs://b/a.tar``."""
    return _URL.match(text) is not None
