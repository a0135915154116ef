"""The weights of a checkpoint, read and verified without its other files, such as that of the optimizer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor

from dit_run.problems import InputError
from dit_run.runs.checkpoint.commit import Damage, find_damage
from dit_run.runs.checkpoint.tensor_files import AVERAGES, WEIGHTS, read_tensors, tensor_files

__all__ = [
    "has_averages",
    "load_weights",
    "newest_weights",
    "read_weights",
    "refuse_damage",
    "weight_damages",
]


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
    return read_tensors(path, _stem(path, ema=ema))[0]


def weight_damages(path: Path, *, ema: bool) -> list[Damage]:
    """Return the damages of the files that sampling reads, the weights and ``state.json``; each is hashed once."""
    return find_damage(path, only={*tensor_files(path, _stem(path, ema=ema)), "state.json"})


def has_averages(path: Path) -> bool:
    """Return True if a checkpoint was saved with averaged weights."""
    return bool(tensor_files(path, AVERAGES))


def refuse_damage(path: Path, damages: Sequence[Damage]) -> None:
    """Raise InputError with the damages of a checkpoint, if there are any."""
    if damages:
        raise InputError(f"the checkpoint {path} is damaged: {'; '.join(map(str, damages))}")


def _stem(path: Path, *, ema: bool) -> str:
    return AVERAGES if ema and has_averages(path) else WEIGHTS
