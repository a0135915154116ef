"""Constraints: limits and markers for use inside ``Annotated``, and ready-made hints."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated

__all__ = [
    "Adjustable",
    "HintError",
    "HubOrPath",
    "Limits",
    "LocalPath",
    "Marker",
    "NonNegativeFloat",
    "NonNegativeInt",
    "Operational",
    "PositiveFloat",
    "PositiveInt",
    "Probability",
    "Secret",
    "bounds",
]


class HintError(TypeError):
    """An options class has a field that cannot become a config key; the message names class, field and reason."""


@dataclass(frozen=True)
class Limits:
    """JSON Schema keywords that narrow a value, with their values; made by :func:`bounds`."""

    keywords: tuple[tuple[str, float | str], ...]


def bounds(
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    multiple_of: int | None = None,
    pattern: str | None = None,
    min_length: int | None = None,
) -> Limits:
    """Return limits of a value, to use inside ``Annotated``.

    An example is ``Annotated[int, ...]`` with ``bounds`` of ``ge=1`` and ``multiple_of=8``.
    ``ge``, ``gt``, ``le``, ``lt`` and ``multiple_of`` limit a number; ``pattern`` (a regular expression, unanchored)
    and ``min_length`` limit a string. For a tuple they limit its items. Raises HintError for a limit that JSON Schema
    cannot have.
    """
    for name, value in {"ge": ge, "gt": gt, "le": le, "lt": lt}.items():
        _refuse_limit(name, value, isinstance(value, int | float) and math.isfinite(value), "a number")
    _refuse_limit("multiple_of", multiple_of, isinstance(multiple_of, int) and multiple_of > 0, "a number above 0")
    _refuse_limit("pattern", pattern, isinstance(pattern, str) and _is_pattern(pattern), "a regular expression")
    _refuse_limit("min_length", min_length, isinstance(min_length, int) and min_length >= 0, "a number of at least 0")
    named = {
        "minimum": ge,
        "exclusiveMinimum": gt,
        "maximum": le,
        "exclusiveMaximum": lt,
        "multipleOf": multiple_of,
        "pattern": pattern,
        "minLength": min_length,
    }
    return Limits(tuple((name, value) for name, value in named.items() if value is not None))


def _refuse_limit(name: str, value: object, good: bool, expected: str) -> None:
    if value is not None and not good:
        raise HintError(f"bounds({name}={value!r}): expected {expected}")


def _is_pattern(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


@dataclass(frozen=True)
class Marker:
    """A property of a key that its values do not show."""

    name: str


Operational = Marker("operational")
"""The key may change when a run continues, because it does not change what is learnt."""
Adjustable = Marker("adjustable")
"""The key may change when a run continues, which reports it: the new value holds from there on."""
Secret = Marker("secret")
"""The value never appears in the files of a run, which have ``${env:NAME}`` instead; no default but None or empty."""
LocalPath = Marker("local_path")
"""A path, relative to the working directory; absolute in a run's own config."""
HubOrPath = Marker("hub_or_path")
"""A name on a model hub, or a local path; an existing path has precedence."""

PositiveInt = Annotated[int, bounds(ge=1)]
"""A whole number of at least 1."""
NonNegativeInt = Annotated[int, bounds(ge=0)]
"""A whole number of at least 0."""
PositiveFloat = Annotated[float, bounds(gt=0)]
"""A number above 0."""
NonNegativeFloat = Annotated[float, bounds(ge=0)]
"""A number of at least 0."""
Probability = Annotated[float, bounds(ge=0, le=1)]
"""A number from 0 to 1."""
