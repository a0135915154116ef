"""The weights of a checkpoint, read and verified without its other files, such as that of the optimizer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor

from dit_run.problems import InputError
from dit_run.runs.checkpoint.commit import Damage, find_damage, has_file
from dit_run.runs.checkpoint.safetensors_file import read_safetensors

__all__ = [
    "AVERAGES",
    "WEIGHTS",
    "has_averages",
    "load_weights",
    "newest_weights",
    "read_weights",
    "refuse_damage",
    "weight_damages",
]

WEIGHTS, AVERAGES = "model.safetensors", "ema.safetensors"
"""Files of a checkpoint."""


def newest_weights(paths: Iterable[Path], *, ema: bool) -> tuple[Path | None, tuple[str, ...]]:
    """Return the last of some checkpoints whose weights are complete, and those passed over, with their damages.

    Raises InputError if there are checkpoints and none can be used.
    """
    passed_over: list[str] = []
    for path in reversed(list(paths)):
        damages = weight_damages(path, ema=ema)
        if not damages:
            return path, tuple(passed_over)
        passed_over.append(f"{path.name} ({'; '.join(map(str, damages))})")
    if passed_over:
        raise InputError(f"there are checkpoints, but the weights of none can be used: {', '.join(passed_over)}")
    return None, ()


def load_weights(path: Path, *, ema: bool) -> dict[str, Tensor]:
    """Return the model's tensors, or with ``ema`` their average if the checkpoint has one, verified.

    Raises InputError with the damage.
    """
    refuse_damage(path, weight_damages(path, ema=ema))
    return read_weights(path, ema=ema)


def read_weights(path: Path, *, ema: bool) -> dict[str, Tensor]:
    """Return what :func:`load_weights` returns, of weights that were verified before. Raises InputError."""
    return read_safetensors(path / _file(path, ema=ema))[0]


def weight_damages(path: Path, *, ema: bool) -> list[Damage]:
    """Return the damages of the two files that sampling reads, the weights and ``state.json``; each is hashed once."""
    return find_damage(path, only={_file(path, ema=ema), "state.json"})


def has_averages(path: Path) -> bool:
    """Return True if a checkpoint was saved with averaged weights."""
    return has_file(path, AVERAGES)


def refuse_damage(path: Path, damages: Sequence[Damage]) -> None:
    """Raise InputError with the damages of a checkpoint, if there are any."""
    if damages:
        raise InputError(f"the checkpoint {path} is damaged: {'; '.join(map(str, damages))}")


def _file(path: Path, *, ema: bool) -> str:
    return AVERAGES if ema and has_averages(path) else WEIGHTS
