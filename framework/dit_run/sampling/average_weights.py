"""Averages of a run's weights of any length, made after training from the averages in its checkpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from dit_run.export.folder import TrainedWeights, weights_metadata
from dit_run.problems import InputError
from dit_run.runs.average_profiles import LONGEST, AverageMixture, decay_at, mixture, power_profile, profile
from dit_run.runs.checkpoint.safetensors_file import write_safetensors
from dit_run.runs.checkpoint.store import Checkpoints, load_state
from dit_run.runs.checkpoint.weights import has_averages, read_weights, weight_damages
from dit_run.runs.run_folder import RunFolder
from dit_run.sampling.checkpoint_names import named_checkpoint
from dit_run.system.durable import make_folder, sync_file, sync_folder, translate_disk_failure
from dit_run.system.json_files import read_object

__all__ = ["AverageWeights", "average_file", "average_weights"]

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class AverageWeights:
    """An average that was made after training."""

    path: Path
    step: int
    """Optimizer steps that it covers."""
    checkpoints: int
    """Number of checkpoints whose averages were mixed."""
    error: float
    """Reconstruction error: relative distance of its shares of all steps from those of the average that was wanted."""


def average_file(folder: RunFolder, name: str) -> Path:
    """Return the file of the average of this name in a run folder. Raises InputError where there is none."""
    path = folder.averages / f"{name}.safetensors"
    if not path.is_file():
        names = ", ".join(sorted(found.stem for found in folder.averages.glob("*.safetensors"))) or "none"
        raise InputError(
            f"{folder.path} has no average {name!r}; its averages are: {names}. Make one with dit-run average RUN "
            "--length 0.1"
        )
    return path


def average_weights(
    folder: RunFolder, length: float, *, name: str | None = None, checkpoint: str | None = None
) -> AverageWeights:
    """Write the average of a run's weights whose relative length is ``length`` up to a checkpoint.

    The length is the standard deviation of its shares of the steps, over their number (Karras et al. 2024). The last
    checkpoint is the default. Raises InputError for a run without averages, and for a name that is taken.
    """
    if not 0 < length <= LONGEST:
        raise InputError(f"--length must be above 0 and at most {LONGEST}, not {length:g}")
    path = _free_file(folder, name or f"length-{length:g}")
    last, _ = named_checkpoint(folder, checkpoint or "last", ema=True)
    state, decay = load_state(last), _decay(folder, last)
    sources = _sources(folder, last)
    steps = [int(load_state(each)["step"]) for each in sources]
    found = mixture([profile(decay, step) for step in steps], power_profile(length, steps[-1]))
    base = state.get("inputs", {}).get("model", "")
    weights = TrainedWeights(_mixed(sources, found), steps[-1], int(state["global_batch"]), True, base)
    with translate_disk_failure(path.parent):
        make_folder(path.parent)
        _write(path, weights)
    return AverageWeights(path, steps[-1], len(sources), found.error)


def _write(path: Path, weights: TrainedWeights) -> None:
    """Write the file so that it is whole or not there, also after a crash. Raises OSError."""
    unfinished = path.with_suffix(".partial")
    try:
        write_safetensors(unfinished, weights.tensors, weights_metadata(weights))
        sync_file(unfinished)
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(path.parent)


def _free_file(folder: RunFolder, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise InputError(f"--name {name!r} is no file name; use letters, digits, dots and dashes")
    path = folder.averages / f"{name}.safetensors"
    if path.exists():
        raise InputError(f"{path} exists, and nothing is overwritten; choose another --name, or remove it")
    return path


def _decay(folder: RunFolder, checkpoint: Path) -> partial[float]:
    """Return the decay of each update of the averages in a run's checkpoints."""
    training = read_object(checkpoint / "config.json")["training"]
    if not (training["use_ema"] and has_averages(checkpoint)):
        raise InputError(
            f"{folder.path} keeps no average of its weights, from which others are made: train with use_ema"
        )
    if "forked_from" in read_object(folder.provenance):
        raise InputError(
            f"{folder.path} began with the average of another run, whose shares of the steps are not known here; make "
            "the average in that run"
        )
    return partial(decay_at, decay=training["ema_decay"], power=training["ema_warmup"])


def _sources(folder: RunFolder, last: Path) -> Sequence[Path]:
    """Return the whole checkpoints up to ``last``, oldest first."""
    paths = Checkpoints(folder.checkpoints, folder.run_id()).paths()
    return [path for path in paths if path.name <= last.name and not weight_damages(path, ema=True)]


def _mixed(sources: Sequence[Path], found: AverageMixture) -> Mapping[str, Tensor]:
    """Return the mixture of the averages in some checkpoints; tensors that are the same in all of them stay so."""
    newest = read_weights(sources[-1], ema=True)
    sums = {name: value.double() for name, value in newest.items()}
    for path, factor in zip(sources[:-1], found.factors, strict=False):
        for name, value in read_weights(path, ema=True).items():
            sums[name] += factor * (value.double() - newest[name].double())
    return {name: value.to(newest[name].dtype) for name, value in sums.items()}
