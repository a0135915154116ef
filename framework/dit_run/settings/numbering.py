"""Numbered names: components of a list by their types, with a number where several have the same type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

__all__ = ["numbered"]


def numbered(types: Iterable[str]) -> tuple[str, ...]:
    """Return a name for each type: the type itself, from its second time on with a number such as ``ema_2``."""
    seen: Counter[str] = Counter()
    names: list[str] = []
    for each in types:
        seen[each] += 1
        names.append(each if seen[each] == 1 else f"{each}_{seen[each]}")
    return tuple(names)
