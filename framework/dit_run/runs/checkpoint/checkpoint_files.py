"""Contents of a checkpoint, and the files of its folder that have them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import Tensor

from dit_run.compute.host_copies import host_copy
from dit_run.compute.sharding import first_rows, local_parts
from dit_run.compute.split_tensor import StoredTensor
from dit_run.runs.checkpoint.commit import find_damage
from dit_run.runs.checkpoint.optimizer_state import join_state, split_state
from dit_run.runs.checkpoint.part_files import OPTIMIZER, WEIGHTS, Part, map_parts, write_tensors
from dit_run.runs.checkpoint.safetensors_file import tensor_bytes
from dit_run.runs.checkpoint.weights import EMA, average_stem, kept_averages, refuse_damage
from dit_run.system.json_files import read_object

__all__ = [
    "CheckpointContents",
    "StoredCheckpoint",
    "load_checkpoint",
    "load_state",
    "needed_bytes",
    "write_checkpoint",
]

T = TypeVar("T")

_ALLOWANCE = 1 << 20
"""Space for JSON, headers and the file system (bytes)."""


@dataclass(frozen=True)
class _Contents(Generic[T]):
    model: Mapping[str, T]
    """Parameters and buffers of everything that trains."""
    optimizer: Mapping[str, Any]
    """The state_dict of the optimizer."""
    state: Mapping[str, Any]
    """Plain JSON values with finite floats; ``step`` and ``run_id`` are added when saving."""
    config: Mapping[str, Any]
    """The resolved config as plain values."""
    averages: Mapping[str, Mapping[str, T]] = field(default_factory=dict)
    """Averages of the model by name, in the order of the config."""


@dataclass(frozen=True)
class StoredCheckpoint(_Contents[StoredTensor]):
    """Contents of a checkpoint's files. Tensors are views of these: their values are read when they are used."""


@dataclass(frozen=True)
class CheckpointContents(_Contents[Tensor]):
    """Contents of a checkpoint to write. Tensors may be on any device."""

    part: Part | None = None
    """The part of sharded tensors that these are; None for whole ones."""
    first_rows: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """First row of each tensor of which a part is here, by file and name."""

    def copied(self) -> CheckpointContents:
        """Return them with copies of all tensors in host memory, which later training does not change."""
        model, averages, optimizer = host_copy((self.model, self.averages, self.optimizer))
        return replace(self, model=model, averages=averages, optimizer=optimizer)

    def split(self, part: Part) -> CheckpointContents:
        """Return this process's parts of sharded tensors, which share their memory."""
        averaged = {average_stem(name): tensors for name, tensors in self.averages.items()}
        named = {WEIGHTS: self.model, **averaged, OPTIMIZER: split_state(self.optimizer)[0]}
        model, averages, optimizer = local_parts((self.model, self.averages, self.optimizer))
        rows = {stem: first_rows(tensors) for stem, tensors in named.items()}
        return replace(self, model=model, averages=averages, optimizer=optimizer, part=part, first_rows=rows)


def write_checkpoint(folder: Path, contents: CheckpointContents, **state: int | str) -> list[Path]:
    """Write the files of a checkpoint, ``state`` in addition to its own; return those of tensors.

    Of several parts the first one has the files that are not of tensors. Raises OSError.
    """
    tensors, skeleton = split_state(contents.optimizer)
    files: list[tuple[str, Mapping[str, Tensor], dict[str, str]]] = [(WEIGHTS, contents.model, {})]
    files += [(average_stem(name), average, {}) for name, average in contents.averages.items()]
    files.append((OPTIMIZER, tensors, {"skeleton": skeleton}))
    part, rows = contents.part, contents.first_rows
    paths = [
        write_tensors(folder, stem, values, texts, part=part, first_rows=rows.get(stem))
        for stem, values, texts in files
    ]
    if part is None or part.index == 0:
        named = {"averages": list(contents.averages)} if set(contents.averages) - {EMA} else {}
        _write_json(folder / "state.json", {**contents.state, **named, **state})
        _write_json(folder / "config.json", contents.config)
    return paths


def load_checkpoint(path: Path, *, verified: bool = False) -> StoredCheckpoint:
    """Return the contents of a complete checkpoint, which may be ``verified`` already.

    Raises InputError with the damage.
    """
    if not verified:
        refuse_damage(path, find_damage(path))
    tensors, texts = map_parts(path, OPTIMIZER)
    return StoredCheckpoint(
        model=map_parts(path, WEIGHTS)[0],
        optimizer=join_state(tensors, texts.get("skeleton", "null"), where=str(path)),
        state=read_object(path / "state.json"),
        config=read_object(path / "config.json"),
        averages={name: map_parts(path, average_stem(name))[0] for name in kept_averages(path)},
    )


def load_state(path: Path) -> dict[str, Any]:
    """Return the plain values of a checkpoint's ``state.json``. Raises InputError."""
    return read_object(path / "state.json")


def needed_bytes(contents: CheckpointContents) -> int:
    """Return the approximate size of a checkpoint (bytes)."""
    tensors, skeleton = split_state(contents.optimizer)
    values = sum(map(tensor_bytes, (contents.model, tensors, *contents.averages.values())))
    return values + len(skeleton) + _ALLOWANCE


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
