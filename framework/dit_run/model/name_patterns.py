"""Patterns of tensor names: which tensors a key of the config means, and how names are rewritten."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Mapping

from dit_run.problems import InputError

__all__ = ["chosen_names", "factors_of", "renamed", "shortened"]

_SHOWN = 5
"""Names in a message (number)."""


@functools.lru_cache(maxsize=1024)
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile("(.*?)".join(map(re.escape, pattern.split("*"))))


def matches(pattern: str, name: str) -> bool:
    """Return True if a pattern, in which ``*`` stands for any text, names a tensor or a module that holds it."""
    expression, parts = _expression(pattern), name.split(".")
    return any(expression.fullmatch(".".join(parts[:end])) for end in range(1, len(parts) + 1))


def chosen_names(patterns: Iterable[str], names: Collection[str], *, key: str, noun: str = "tensor") -> set[str]:
    """Return the names that at least one of the patterns of a config key means.

    Raises InputError, with similar names, for a pattern that means none of them.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        found = {name for name in names if matches(pattern, name)}
        if not found:
            raise InputError(f"{key}: '{pattern}' matches no {noun}; {_near(pattern, names)}")
        chosen |= found
    return chosen


def factors_of(
    factors: Mapping[str, float], names: Collection[str], *, key: str, noun: str = "tensor"
) -> dict[str, float]:
    """Return the product of the factors of all patterns that mean a name, 1 for a name without any.

    Raises InputError as :func:`chosen_names`.
    """
    product = dict.fromkeys(names, 1.0)
    for pattern, factor in factors.items():
        for name in chosen_names([pattern], names, key=key, noun=noun):
            product[name] *= factor
    return product


def renamed(names: Collection[str], renames: Mapping[str, str], *, key: str) -> dict[str, str]:
    """Return the new name of each name. The first pattern that matches a whole name counts.

    Each ``*`` of the new name is the text of the pattern's ``*`` at the same place. Raises InputError for a pattern
    that matches no name, and for two names that become the same.
    """
    found: dict[str, str] = {}
    used: set[str] = set()
    for name in names:
        pattern = next((each for each in renames if _expression(each).fullmatch(name)), None)
        found[name] = name if pattern is None else _filled(renames[pattern], _expression(pattern), name)
        used |= {pattern} if pattern is not None else set()
    for pattern in renames:
        if pattern not in used:
            raise InputError(f"{key}: '{pattern}' renames no tensor; {_near(pattern, names)}")
    _refuse_collisions(found, key)
    return found


def _filled(target: str, expression: re.Pattern[str], name: str) -> str:
    match = expression.fullmatch(name)
    assert match is not None
    texts = iter(match.groups())
    return re.sub(r"\*", lambda star: next(texts, ""), target)


def _refuse_collisions(found: Mapping[str, str], key: str) -> None:
    first: dict[str, str] = {}
    for name, new in found.items():
        if new in first:
            raise InputError(f"{key}: {first[new]} and {name} would both be called {new}")
        first[new] = name


def shortened(names: Iterable[str]) -> list[str]:
    """Return names with the numbers of repeated blocks as ``*``, each once, with its count where it stands for more."""
    counts: dict[str, int] = {}
    for name in names:
        short = ".".join("*" if part.isdecimal() else part for part in name.split("."))
        counts[short] = counts.get(short, 0) + 1
    return [f"{name} ({count})" if count > 1 else name for name, count in counts.items()]


def _near(pattern: str, names: Iterable[str]) -> str:
    """Return similar names of tensors and modules, or the first ones, as the end of an error."""
    import difflib  # slow to import, and needed for errors only

    plain = [name.rpartition(" (")[0] or name for name in shortened(names)]
    parents = {".".join(name.split(".")[:end]) for name in plain for end in range(1, name.count(".") + 2)}
    near = difflib.get_close_matches(pattern, sorted(parents), n=_SHOWN, cutoff=0.5)
    return f"similar names: {', '.join(near)}" if near else f"the names begin with {', '.join(plain[:_SHOWN])}"
