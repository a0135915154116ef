"""Nearest keys: what a misspelt word was probably meant to be."""

from __future__ import annotations

import functools
from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]

_LONGEST = 64


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most alike, or None where none is alike enough."""
    return _nearest(word, tuple(known))


@functools.lru_cache(maxsize=1024)
def _nearest(word: str, known: tuple[str, ...]) -> str | None:
    if len(word) > _LONGEST:
        return None
    import difflib  # only where something is misspelt

    lowered = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(word.lower().replace("-", "_"), lowered, n=1, cutoff=0.6)
    return lowered[matches[0]] if matches else None


def did_you_mean(word: str, known: Iterable[str]) -> tuple[str, ...]:
    """A line of help, or none."""
    match = nearest(word, known)
    return (f"did you mean '{match}'?",) if match else ()
