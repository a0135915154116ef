"""Tensors of a file: safetensors, or a torch checkpoint that holds only tensors and plain values."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dit_run.problems import InputError
from dit_run.system.lfs_pointers import LFS_TEXT, is_lfs_pointer

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["read_tensors", "tensor_shapes", "unsafe_pickle"]

_MAX_HEADER = (1 << 27) - 1
"""Mask of the size of a header (bytes): a damaged size never asks for more memory."""


def read_tensors(path: Path, keep: Callable[[str], bool] = lambda name: True) -> dict[str, Tensor]:
    """Return the tensors of a file, on the CPU, whose names ``keep`` accepts; safetensors reads only those.

    Any file that does not end in ``.safetensors`` is read as a torch checkpoint with ``weights_only=True``. Its tensors
    may be nested under ``state_dict``. Raises InputError naming the file if it is damaged, or holds more than tensors
    and plain values.
    """
    _refuse_pointer(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path, keep)
    return {name: value for name, value in _read_pickle(path).items() if keep(name)}


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor by name; a safetensors file is not read beyond its header.

    Raises InputError as :func:`read_tensors`.
    """
    if path.suffix != ".safetensors":
        return {name: tuple(value.shape) for name, value in read_tensors(path).items()}
    _refuse_pointer(path)
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little") & _MAX_HEADER))
        return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a readable safetensors file: {error}") from error


def _refuse_pointer(path: Path) -> None:
    if path.is_file() and is_lfs_pointer(path):
        raise InputError(f"{path} is {LFS_TEXT}")


def _read_safetensors(path: Path, keep: Callable[[str], bool]) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys() if keep(name)}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file: {error}") from error


def unsafe_pickle(path: Path, error: pickle.UnpicklingError) -> str:
    """Return the message about a pickle that torch does not load, without torch's advice to load it all the same."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    named = f" ({found[1]})" if found else ""
    return (
        f"{path}: refused, because it is damaged or holds more than tensors, which could run code{named}\nIf you trust "
        "the file, convert it to safetensors."
    )


def _read_pickle(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(unsafe_pickle(path, error)) from error
    except Exception as error:  # pickle can raise anything for bytes that are not a pickle
        raise InputError(f"{path}: not a readable checkpoint: {error or type(error).__name__}") from error
    nested = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(nested, dict):
        raise InputError(f"{path}: expected a checkpoint of named tensors, not {type(content).__name__}")
    return {name: value for name, value in nested.items() if isinstance(value, torch.Tensor)}
