"""The weights of a checkpoint, read and verified without its other files, such as that of the optimizer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor

from dit_run.problems import InputError
from dit_run.runs.checkpoint.commit import Damage, find_damage
from dit_run.runs.checkpoint.part_files import WEIGHTS, read_tensors, tensor_files
from dit_run.system.json_files import read_object

__all__ = [
    "EMA",
    "FIRST",
    "average_of",
    "average_stem",
    "kept_averages",
    "load_weights",
    "newest_weights",
    "read_weights",
    "refuse_damage",
    "weight_damages",
]


EMA = "ema"
"""Name of the average of ``training.use_ema``."""
FIRST = ""
"""Stands for the first average of a checkpoint, or for the weights that train where it has no average."""


def average_stem(name: str) -> str:
    """Return the first words of the names of the files that a checkpoint keeps an average in."""
    return EMA if name == EMA else f"average-{name}"


def kept_averages(path: Path) -> tuple[str, ...]:
    """Return the names of the averages that a checkpoint was saved with, in the order of the config.

    Raises InputError where they cannot be read.
    """
    listed = read_object(path / "state.json").get("averages")
    return tuple(listed) if listed else (EMA,) if tensor_files(path, average_stem(EMA)) else ()


def average_of(path: Path, average: str | None) -> str | None:
    """Return the name of the chosen average; None for the weights that train, also where ``FIRST`` finds none."""
    return next(iter(kept_averages(path)), None) if average == FIRST else average


def newest_weights(paths: Iterable[Path], *, average: str | None) -> tuple[Path | None, tuple[str, ...]]:
    """Return the last of some checkpoints whose weights are complete, and those passed over, with their damages.

    Raises InputError if there are checkpoints and none can be used.
    """
    passed_over: list[str] = []
    for path in reversed(list(paths)):
        damages = weight_damages(path, average=average)
        if not damages:
            return path, tuple(passed_over)
        passed_over.append(f"{path.name} ({'; '.join(map(str, damages))})")
    if passed_over:
        raise InputError(f"there are checkpoints, but the weights of none can be used: {', '.join(passed_over)}")
    return None, ()


def load_weights(path: Path, *, average: str | None) -> dict[str, Tensor]:
    """Return the tensors of the chosen average, or with None those that train, verified.

    Raises InputError with the damage.
    """
    refuse_damage(path, weight_damages(path, average=average))
    return read_weights(path, average=average)


def read_weights(path: Path, *, average: str | None) -> dict[str, Tensor]:
    """Return what :func:`load_weights` returns, of weights that were verified before. Raises InputError."""
    return read_tensors(path, _stem(path, average))


def weight_damages(path: Path, *, average: str | None) -> list[Damage]:
    """Return the damages of the files that sampling reads, ``state.json`` and the weights; each is hashed once."""
    damages = find_damage(path, only={"state.json"})
    if damages:
        return damages
    stem = _stem(path, average)
    return find_damage(path, only=set(tensor_files(path, stem) or [f"{stem}.safetensors"]))


def refuse_damage(path: Path, damages: Sequence[Damage]) -> None:
    """Raise InputError with the damages of a checkpoint, if there are any."""
    if damages:
        raise InputError(f"the checkpoint {path} is damaged: {'; '.join(map(str, damages))}")


def _stem(path: Path, average: str | None) -> str:
    name = average_of(path, average)
    return WEIGHTS if name is None else average_stem(name)
