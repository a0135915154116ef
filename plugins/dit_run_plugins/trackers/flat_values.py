"""Values of a config in one flat mapping, as tables of runs show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["Scalar", "flat"]

Scalar = bool | int | float | str


def flat(values: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return plain values under names such as ``model.hidden_size`` and ``metrics.0.type``; null becomes ``null``.

    Lists of scalars become a text.
    """
    return dict(_flat(values, ""))


def _flat(value: Any, name: str) -> Iterator[tuple[str, Scalar]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _flat(item, f"{name}.{index}")
    elif isinstance(value, list | tuple):
        yield name, ", ".join(str(item) for item in value)
    else:
        yield name, "null" if value is None else value
