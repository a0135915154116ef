"""Optimizer state: any state_dict as named tensors and a JSON skeleton, and back, bit for bit."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dit_run.compute.split_tensor import StoredTensor
from dit_run.problems import InputError

__all__ = ["join_state", "split_state"]

_MARKS = ("$tensor", "$tuple", "$items", "$float")


def split_state(value: Any) -> tuple[dict[str, Tensor], str]:
    """Split nested dicts, lists, tuples, tensors and plain values into named tensors and JSON text for the rest.

    Keys may be str, int, float, bool or None; ints, floats and bools keep their types. Raises TypeError, naming the
    place, for any other value.
    """
    tensors: dict[str, Tensor] = {}
    return tensors, json.dumps(_pack(value, "", tensors), allow_nan=False, separators=(",", ":"))


def join_state(tensors: Mapping[str, StoredTensor], skeleton: str, *, where: str) -> Any:
    """Return the value that :func:`split_state` took apart. Raises InputError if the parts do not belong together."""
    try:
        return _unpack(json.loads(skeleton), tensors)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"the optimizer state in {where} cannot be restored: {error!r}") from error


def _pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = path or "value"
        tensors[name] = value
        return {"$tensor": name}
    if value is None or isinstance(value, bool | str) or type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if type(value) is tuple:
        return {"$tuple": _pack_list(value, path, tensors)}
    if isinstance(value, list):
        return _pack_list(value, path, tensors)
    if isinstance(value, Mapping):
        return _pack_mapping(value, path, tensors)
    raise TypeError(
        f"the state holds {type(value).__name__} at {path or 'its top'}; only tensors, numbers, strings, "
        "None, lists, tuples and dicts can be saved"
    )


def _pack_list(values: Any, path: str, tensors: dict[str, Tensor]) -> list[Any]:
    return [_pack(item, _below(path, str(index)), tensors) for index, item in enumerate(values)]


def _pack_mapping(value: Mapping[Any, Any], path: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    if all(isinstance(key, str) and not key.startswith("$") for key in value):
        return {key: _pack(item, _below(path, key), tensors) for key, item in value.items()}
    pairs = [[_pack(key, path, tensors), _pack(item, _below(path, repr(key)), tensors)] for key, item in value.items()]
    return {"$items": pairs}


def _unpack(value: Any, tensors: Mapping[str, StoredTensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    mark = next((mark for mark in _MARKS if mark in value), None)
    match mark:
        case "$tensor":
            return tensors[value["$tensor"]]
        case "$float":
            return float(value["$float"])
        case "$tuple":
            return tuple(_unpack(item, tensors) for item in value["$tuple"])
        case "$items":
            return {_unpack(key, tensors): _unpack(item, tensors) for key, item in value["$items"]}
    return {key: _unpack(item, tensors) for key, item in value.items()}


def _below(path: str, name: str) -> str:
    """Return the name of a place; ``/`` in a key is escaped, so that two places never share a name."""
    escaped = name.replace("~", "~0").replace("/", "~1")
    return f"{path}/{escaped}" if path else escaped
