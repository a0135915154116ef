"""Weights of captions, as data files give them: one number for all captions of an entry, or a list of as many."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Caption", "sample_weights", "weighted"]

_WEIGHT_KEYS = ("weights", "weight")
"""Names of the column or key of weights; the first that is there counts."""


class Caption(NamedTuple):
    """A caption and its share of its image's visits, relative to the other captions of the image."""

    text: str
    weight: float = 1.0


def weighted(texts: Sequence[str], entry: Mapping[str, Any]) -> list[Caption]:
    """Return captions with the weights that their entry has under ``weights`` or ``weight``, which are 1 without them.

    Raises ValueError for weights that are not above 0, and for a list with another number of weights than of captions.
    """
    key = next((key for key in _WEIGHT_KEYS if entry.get(key) is not None), None)
    if key is None:
        return [Caption(text) for text in texts]
    values = entry[key] if isinstance(entry[key], list) else [entry[key]] * len(texts)
    if len(values) != len(texts):
        raise ValueError(f"{key!r} has {len(values)} weights for {len(texts)} captions")
    return [Caption(text, _number(value, key)) for text, value in zip(texts, values, strict=True)]


def sample_weights(weights: Sequence[float]) -> tuple[float, ...]:
    """Return weights as a sample has them: none where all are equal."""
    return () if len(set(weights)) == 1 else tuple(weights)


def _number(value: object, key: str) -> float:
    """Return a weight: a number or, in CSV, its text."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{key!r} must be a number above 0 for each caption, not {value!r}")
    return number
