"""Suggestions: the known word that a misspelt one probably means."""

from __future__ import annotations

import functools
from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]

_LONGEST = 64


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word of these initials (``lr``: ``learning_rate``), else the most similar one, or None."""
    return _nearest(word.lower().replace("-", "_"), tuple(known))


@functools.lru_cache(maxsize=1024)
def _nearest(word: str, known: tuple[str, ...]) -> str | None:
    if len(word) > _LONGEST:
        return None
    import difflib  # slow to import, and needed for misspelt words only

    for name in known if len(word) > 1 else ():
        if "".join(part[:1] for part in name.split("_")) == word:
            return name
    lowered = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(word, lowered, n=1, cutoff=0.6)
    return lowered[matches[0]] if matches else None


def did_you_mean(word: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return one line of help, or none."""
    match = nearest(word, known)
    return (f"did you mean '{match}'?",) if match else ()
