"""Averages of a run's weights of any length, made after training from the averages in its checkpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from dit_run.assembly.averages import build_average_shares
from dit_run.export.folder import TrainedWeights, weights_metadata
from dit_run.model.average_profiles import LONGEST, AverageMixture, Profile, mixture, power_profile, profile
from dit_run.problems import InputError
from dit_run.protocols import AverageShare
from dit_run.runs.checkpoint.checkpoint_files import load_state
from dit_run.runs.checkpoint.commit import find_damage
from dit_run.runs.checkpoint.safetensors_file import write_safetensors
from dit_run.runs.checkpoint.store import Checkpoints
from dit_run.runs.checkpoint.weights import FIRST, kept_averages, read_weights, weight_damages
from dit_run.runs.run_folder import RunFolder
from dit_run.sampling.average_files import free_file
from dit_run.sampling.checkpoint_names import named_checkpoint
from dit_run.sampling.trained_config import read_run_config
from dit_run.settings import Config
from dit_run.system.durable import make_folder, sync_file, sync_folder, translate_disk_failure
from dit_run.system.json_files import read_object

__all__ = ["AverageWeights", "average_weights"]

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


@dataclass(frozen=True)
class _KeptAverage:
    """An average in a checkpoint."""

    path: Path
    name: str
    profile: Profile


def average_weights(
    folder: RunFolder,
    length: float,
    *,
    name: str | None = None,
    checkpoint: str | None = None,
    allow_plugins: bool = False,
) -> AverageWeights:
    """Write the average of a run's weights whose relative length is ``length`` up to a checkpoint.

    The length is the standard deviation of its shares of the steps, over their number (Karras et al. 2024). The last
    checkpoint is the default. ``allow_plugins`` allows the code of plugin files in the folder, which a run's averages
    may need. Raises InputError for a run without averages, and for a name that is taken.
    """
    if not 0 < length <= LONGEST:
        raise InputError(f"--length must be above 0 and at most {LONGEST}, not {length:g}")
    path = _free_path(folder, name or f"length-{length:g}")
    last, _ = named_checkpoint(folder, checkpoint or "last", average=FIRST)
    _refuse_unknown_shares(folder, last)
    config = read_run_config(folder, (), frozenset({"averages"}), allow_plugins=allow_plugins).resolution.config
    state, sources = load_state(last), _sources(folder, last, config)
    found = mixture([each.profile for each in sources], power_profile(length, int(state["step"])))
    base = state.get("inputs", {}).get("model", "")
    weights = TrainedWeights(_mixed(sources, found), int(state["step"]), int(state["global_batch"]), path.stem, base)
    with translate_disk_failure(path.parent):
        make_folder(path.parent)
        _write(path, weights)
    return AverageWeights(path, weights.step, len({each.path for each in sources}), found.error)


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


def _free_path(folder: RunFolder, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise InputError(f"--name {name!r} is no file name; use letters, digits, dots and dashes")
    return free_file(folder, name)


def _refuse_unknown_shares(folder: RunFolder, checkpoint: Path) -> None:
    """Raise InputError for a run of whose steps the shares in its averages are not known."""
    if not kept_averages(checkpoint):
        raise InputError(
            f"{folder.path} keeps no average of its weights, from which others are made: train with use_ema or averages"
        )
    if "forked_from" in read_object(folder.provenance):
        raise InputError(
            f"{folder.path} began with the average of another run, whose shares of the steps are not known here; make "
            "the average in that run"
        )


def _sources(folder: RunFolder, last: Path, config: Config) -> Sequence[_KeptAverage]:
    """Return the averages in the whole checkpoints up to ``last``, oldest first."""
    shares, found = build_average_shares(config), list[_KeptAverage]()
    for path in Checkpoints(folder.checkpoints, folder.run_id()).paths():
        if path.name > last.name or find_damage(path, only={"state.json"}):
            continue
        step = int(load_state(path)["step"])
        for name in kept_averages(path):
            if name in shares and not weight_damages(path, average=name):
                found.append(_KeptAverage(path, name, profile(_decay(shares[name]), step)))
    return found


def _decay(share: AverageShare) -> Callable[[int], float]:
    return lambda step: 1 - share(step)


def _mixed(sources: Sequence[_KeptAverage], found: AverageMixture) -> Mapping[str, Tensor]:
    """Return the mixture of averages; tensors that are the same in all of them stay so."""
    newest = read_weights(sources[-1].path, average=sources[-1].name)
    sums = {name: value.double() for name, value in newest.items()}
    for source, factor in zip(sources[:-1], found.factors, strict=False):
        for name, value in read_weights(source.path, average=source.name).items():
            sums[name] += factor * (value.double() - newest[name].double())
    return {name: value.to(newest[name].dtype) for name, value in sums.items()}
