"""Tensor files of a checkpoint: ``model.safetensors``, or parts such as ``model-00001-of-00004.safetensors``.

Several processes write the parts, each the rows of the sharded tensors that it holds; the first one also writes the
tensors that are whole in every process. The headers name the rows in the words of torch.distributed.checkpoint's
safetensors format. Its writer is not used: it copies all tensors of a file in memory, knows neither float8 nor bool,
and has one name for all files of a process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dit_run.compute.split_tensor import SplitTensor, StoredTensor, join
from dit_run.problems import InputError
from dit_run.runs.checkpoint.commit import committed_files
from dit_run.runs.checkpoint.safetensors_file import read_safetensors, write_safetensors

__all__ = ["OPTIMIZER", "WEIGHTS", "Part", "map_parts", "read_tensors", "tensor_files", "write_tensors"]

WEIGHTS, OPTIMIZER = "model", "optimizer"
"""First words of the names of the files."""
_ROWS, _VERSION = "DCP_SHARDING_INFO", {"DCP_VERSION": "1.0"}


@dataclass(frozen=True)
class Part:
    """The part of a checkpoint's tensors that a process writes."""

    index: int
    count: int
    """Number of parts."""


def write_tensors(
    folder: Path,
    stem: str,
    tensors: Mapping[str, Tensor],
    texts: Mapping[str, str] | None = None,
    *,
    part: Part | None = None,
    first_rows: Mapping[str, int] | None = None,
) -> Path:
    """Write the file of these tensors, or this process's ``part``, and return its path.

    ``first_rows`` are the places, in the whole tensors, of those of which a part is given. Raises OSError.
    """
    if part is None:
        path = folder / f"{stem}.safetensors"
        write_safetensors(path, tensors, texts)
        return path
    rows = first_rows or {}
    own = {name: value for name, value in tensors.items() if name in rows or part.index == 0}
    offsets = {
        name: {"saved_offsets": [rows.get(name, 0), *[0] * (value.ndim - 1)][: value.ndim]}
        for name, value in own.items()
    }
    path = folder / f"{stem}-{part.index + 1:05d}-of-{part.count:05d}.safetensors"
    write_safetensors(path, own, {**(texts or {}), **_VERSION, _ROWS: json.dumps(offsets, sort_keys=True)})
    return path


def tensor_files(folder: Path, stem: str) -> list[str]:
    """Return the names of the file or the parts of a committed checkpoint, in order; none where it has none."""
    known = re.compile(rf"{re.escape(stem)}(-\d{{5,}}-of-\d{{5,}})?\.safetensors")
    return sorted(name for name in committed_files(folder) if known.fullmatch(name))


def read_tensors(folder: Path, stem: str) -> dict[str, Tensor]:
    """Return the whole tensors of a committed checkpoint. Raises InputError."""
    return {name: join(tensor) for name, tensor in map_parts(folder, stem)[0].items()}


def map_parts(folder: Path, stem: str) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """Return the tensors of a committed checkpoint, as they are in its files, and the texts of the first file.

    They are views of the mapped files: their values are read when they are used. Raises InputError.
    """
    files = [folder / name for name in tensor_files(folder, stem)] or [folder / f"{stem}.safetensors"]
    if len(files) == 1:
        tensors, texts = read_safetensors(files[0])
        return dict(tensors), texts
    return _split(files)


def _split(files: Sequence[Path]) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """Return the tensors of all parts, and the texts of the first part."""
    from safetensors import SafetensorError, safe_open

    try:
        with ExitStack() as stack:
            parts = [stack.enter_context(safe_open(path, framework="pt", device="cpu")) for path in files]
            places: dict[str, list[tuple[list[int], Any]]] = {}
            for part in parts:
                for name, place in json.loads(part.metadata()[_ROWS]).items():
                    places.setdefault(name, []).append((place["saved_offsets"], part))
            return {name: _pieces(name, found) for name, found in places.items()}, dict(parts[0].metadata())
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{files[0]} and its other parts cannot be read as safetensors: {error!r}") from error


def _pieces(name: str, places: Sequence[tuple[list[int], Any]]) -> StoredTensor:
    pieces = [part.get_tensor(name) for _, part in sorted(places, key=lambda place: place[0])]
    return pieces[0] if len(pieces) == 1 else SplitTensor(pieces)
