"""Trained weights: found and read in a run folder's checkpoints or in an exported folder."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dit_run.export.folder import OLD_WEIGHTS_FILE, WEIGHTS_FILE, TrainedWeights, read_export
from dit_run.problems import InputError
from dit_run.runs.checkpoint.checkpoint_files import load_state
from dit_run.runs.checkpoint.weights import FIRST, average_of
from dit_run.runs.checkpoint.weights import read_weights as read_checkpoint
from dit_run.runs.run_folder import RunFolder
from dit_run.sampling.average_files import average_file, kept_in
from dit_run.sampling.checkpoint_names import named_checkpoint

__all__ = ["Chosen", "choose_weights", "read_prompts", "read_scalars", "read_weights"]


class Chosen(NamedTuple):
    """The verified weights of a run that were chosen."""

    source: Path
    """The folder of the checkpoint, or an exported folder's file of weights."""
    weights: Path
    """The source, or the file of an average that was made after training."""
    average: str | None
    """See :mod:`dit_run.runs.checkpoint.weights`."""
    passed_over: tuple[str, ...]
    """Newer, damaged checkpoints that were passed over."""


def choose_weights(folder: RunFolder, checkpoint: str | None, *, ema: bool, average: str | None) -> Chosen:
    """Return the weights that the arguments of :func:`dit_run.load_run` choose. Raises InputError for a misfit."""
    if average is None:
        chosen = FIRST if ema else None
        source, passed_over = _find_weights(folder, checkpoint, average=chosen)
        return Chosen(source, source, chosen, passed_over)
    if not ema:
        raise InputError(f"average {average!r} is one set of weights; leave out no-ema")
    if average in kept_in(folder):
        source, passed_over = _find_weights(folder, checkpoint or "last", average=average)
        return Chosen(source, source, average, passed_over)
    if checkpoint is not None:
        raise InputError(
            f"average {average!r} is in no checkpoint of {folder.path}; leave out the checkpoint for an average that "
            "was made after training"
        )
    made = average_file(folder, average)
    source, passed_over = _find_weights(folder, None, average=FIRST)
    return Chosen(source, made, FIRST, passed_over)


def _find_weights(folder: RunFolder, checkpoint: str | None, *, average: str | None) -> tuple[Path, tuple[str, ...]]:
    """Return the folder of a checkpoint, the newest one by default, or an exported folder's weights file.

    The weights that ``average`` chooses are verified. The second value lists newer, damaged checkpoints that were
    passed over. For names see :func:`dit_run.sampling.checkpoint_names.named_checkpoint`. Raises InputError where there
    is none.
    """
    files = (folder.path / name for name in (WEIGHTS_FILE, OLD_WEIGHTS_FILE))
    exported = next((path for path in files if path.is_file()), None)
    if exported is not None and checkpoint is None:
        return exported, ()
    return named_checkpoint(folder, checkpoint or "last", average=average)


def read_weights(source: Path, *, average: str | None) -> TrainedWeights:
    """Return the weights that ``average`` chooses of a verified source, a checkpoint or a file of one set of weights.

    Raises InputError.
    """
    if source.is_file():
        model = read_export(source)
        if model.average is not None and average is None:
            raise InputError(f"{source} holds the averaged weights only; load the run that it was exported from")
        return model
    state = load_state(source)
    name = average_of(source, average)
    base = state.get("inputs", {}).get("model", "")
    return TrainedWeights(read_checkpoint(source, average=name), state["step"], state["global_batch"], name, base)


def read_prompts(source: Path) -> tuple[str, ...]:
    """Return the prompts of the run's previews that a checkpoint keeps; an exported config has its own."""
    return () if source.is_file() else tuple(load_state(source).get("prompts", ()))


def read_scalars(source: Path) -> dict[str, float]:
    """Return the means of the training data's scalars that a checkpoint keeps; an exported config has its own."""
    return {} if source.is_file() else dict(load_state(source).get("scalars", {}))
