"""Trained weights: found and read in a run folder's checkpoints or in an exported folder."""

from __future__ import annotations

from pathlib import Path

from dit_run.export.folder import OLD_WEIGHTS_FILE, WEIGHTS_FILE, TrainedWeights, read_export
from dit_run.problems import InputError
from dit_run.runs.checkpoint.store import load_state
from dit_run.runs.checkpoint.weights import has_averages
from dit_run.runs.checkpoint.weights import read_weights as read_checkpoint
from dit_run.runs.run_folder import RunFolder
from dit_run.sampling.checkpoint_names import named_checkpoint

__all__ = ["find_weights", "read_prompts", "read_scalars", "read_weights"]


def find_weights(folder: RunFolder, checkpoint: str | None, *, ema: bool) -> tuple[Path, tuple[str, ...]]:
    """Return the folder of a checkpoint, the newest one by default, or an exported folder's weights file.

    The weights that ``ema`` chooses are verified. The second value lists newer, damaged checkpoints that were passed
    over. For names see :func:`dit_run.sampling.checkpoint_names.named_checkpoint`. Raises InputError where there is
    none.
    """
    files = (folder.path / name for name in (WEIGHTS_FILE, OLD_WEIGHTS_FILE))
    exported = next((path for path in files if path.is_file()), None)
    if exported is not None and checkpoint is None:
        return exported, ()
    return named_checkpoint(folder, checkpoint or "last", ema=ema)


def read_weights(source: Path, *, ema: bool) -> TrainedWeights:
    """Return the averaged weights where ``ema`` and there are any, else the live ones, of a verified source.

    Raises InputError.
    """
    if source.is_file():
        model = read_export(source)
        if model.ema and not ema:
            raise InputError(f"{source} holds the averaged weights only; load the run that it was exported from")
        return model
    state = load_state(source)
    averaged = ema and has_averages(source)
    base = state.get("inputs", {}).get("model", "")
    return TrainedWeights(read_checkpoint(source, ema=ema), state["step"], state["global_batch"], averaged, base)


def read_prompts(source: Path) -> tuple[str, ...]:
    """Return the prompts of the run's previews that a checkpoint keeps; an exported config has its own."""
    return () if source.is_file() else tuple(load_state(source).get("prompts", ()))


def read_scalars(source: Path) -> dict[str, float]:
    """Return the means of the training data's scalars that a checkpoint keeps; an exported config has its own."""
    return {} if source.is_file() else dict(load_state(source).get("scalars", {}))
