"""Columns of numbers that a model takes as scalars: read with the captions, kept in one flat array."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dit_run.problems import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ScalarColumns", "ScalarTable", "completed", "is_scalar", "no_scalars", "scalars_in"]

_MOST = (2 - 2**-23) * 2.0**127
"""Largest float32 number."""


def is_scalar(value: float) -> bool:
    """Return whether a number is finite in float32, in which models take it."""
    return abs(value) <= _MOST


@dataclass(frozen=True, eq=False)
class ScalarTable:
    """The scalars of many samples."""

    names: tuple[str, ...]
    values: NDArray[np.float64]
    """[samples, names]; not a number where a sample has no value."""

    def __getitem__(self, number: int) -> dict[str, float]:
        """Return the scalars that a sample has."""
        pairs = zip(self.names, self.values[number].tolist(), strict=True)
        return {name: value for name, value in pairs if not math.isnan(value)}


class ScalarColumns:
    """Scalars of entries of metadata, collected by the image that they belong to."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._rows: dict[str, tuple[float, ...]] = {}

    def add(self, image: str, entry: Any, where: str) -> None:
        """Add the scalars of an entry; several entries of one image complete each other.

        Raises InputError, which starts with ``where``, for a value that is no number, or not that of an earlier entry.
        """
        if not self.names:
            return
        row = scalars_in(entry, self.names, where)
        self._rows[image] = completed(self._rows.get(image, row), row, self.names, where)

    def table(self, images: Iterable[str]) -> ScalarTable | None:
        """Return the scalars of these images; None if there are no names."""
        import numpy as np

        if not self.names:
            return None
        none = no_scalars(self.names)
        rows = [self._rows.get(image, none) for image in images]
        return ScalarTable(self.names, np.array(rows, dtype=np.float64).reshape(-1, len(self.names)))


def no_scalars(names: Sequence[str]) -> tuple[float, ...]:
    """Return the values of a sample that has none: each is not a number."""
    return (math.nan,) * len(names)


def completed(row: tuple[float, ...], later: tuple[float, ...], names: Sequence[str], where: str) -> tuple[float, ...]:
    """Return the values of a sample with those of a later entry in place of missing ones.

    Raises InputError, which starts with ``where``, for a value that both have and that differs.
    """
    for name, old, new in zip(names, row, later, strict=True):
        if old != new and not math.isnan(old) and not math.isnan(new):
            raise InputError(f"{where}: {name!r} is {new:g}, but an earlier entry of the same image has {old:g}")
    return tuple(new if math.isnan(old) else old for old, new in zip(row, later, strict=True))


def scalars_in(entry: Any, names: Sequence[str], where: str) -> tuple[float, ...]:
    """Return the values of an entry of metadata by these names; one that is missing or empty is not a number.

    Raises InputError, which starts with ``where``, for an entry without names, and for a value that is no number.
    """
    if not isinstance(entry, Mapping):
        raise InputError(f"{where}: expected an object with the keys {', '.join(names)} (model.scalars)")
    return tuple(_number(entry.get(name), name, where) for name in names)


def _number(value: Any, name: str, where: str) -> float:
    if value is None or value == "":
        return math.nan
    try:
        number = math.inf if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.inf
    if not is_scalar(number):
        raise InputError(f"{where}: {name!r} must be a number, because model.scalars names it, not {str(value)[:80]!r}")
    return number
