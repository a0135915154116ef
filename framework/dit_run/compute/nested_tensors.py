"""Tensors in nested containers, such as the state of an optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

__all__ = ["map_tensors"]


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return nested dicts, lists and tuples with ``change`` of each tensor in its place."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: map_tensors(each, change) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([map_tensors(each, change) for each in value])
    return value
