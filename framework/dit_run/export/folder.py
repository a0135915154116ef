"""An exported model: a folder of weights, config and model card that needs no run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from dit_run.config.dump import dump
from dit_run.export.model_card import model_card
from dit_run.problems import DitRunError, InputError
from dit_run.registry.plugin_files import PluginFile
from dit_run.runs.checkpoint.safetensors_file import read_safetensors, write_safetensors
from dit_run.runs.run_folder import RunFolder
from dit_run.settings import CacheOptions, Config, TrainingOptions

__all__ = ["WEIGHTS_FILE", "ExportedModel", "read_export", "write_export"]

WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True)
class ExportedModel:
    """Trained weights, and how they were trained."""

    tensors: Mapping[str, Tensor]
    step: int
    global_batch: int
    """Samples per step."""
    ema: bool
    """True for the averaged weights, False for the live ones."""


def write_export(
    folder: Path,
    model: ExportedModel,
    config: Config,
    plugin_files: Sequence[PluginFile],
    prompts: Sequence[str],
    *,
    scalars: Mapping[str, float],
) -> None:
    """Write ``model.safetensors``, ``config.yaml``, ``README.md`` and the plugin files to a new or empty folder.

    ``prompts`` and ``scalars`` become the config's own. Raises InputError for a folder that holds files, DitRunError
    where the disk fails.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder; export to another folder")
    target = RunFolder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        plugins = [str(target.keep_plugin(file).relative_to(target.path)) for file in plugin_files]
        portable = _portable(config, plugins, prompts, scalars)
        write_safetensors(folder / WEIGHTS_FILE, model.tensors, _metadata(model))
        card = model_card(portable, name=target.path.name, tensors=model.tensors, step=model.step, ema=model.ema)
        (folder / "README.md").write_text(card, encoding="utf-8")
        target.write_config(dump(portable))
    except OSError as error:
        raise DitRunError(f"the export to {folder} failed: {error.filename or folder}: {error.strerror}") from error


def read_export(path: Path) -> ExportedModel:
    """Return the model in an exported folder's ``model.safetensors``. Raises InputError."""
    tensors, facts = read_safetensors(path)
    try:
        return ExportedModel(tensors, int(facts["step"]), int(facts["global_batch"]), facts["weights"] == "ema")
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{path} was not written by an export of dit-run: its metadata have no valid step, global_batch and weights"
        ) from error


def _metadata(model: ExportedModel) -> dict[str, str]:
    weights = "ema" if model.ema else "live"
    return {"format": "pt", "global_batch": str(model.global_batch), "step": str(model.step), "weights": weights}


def _portable(config: Config, plugins: Sequence[str], prompts: Sequence[str], scalars: Mapping[str, float]) -> Config:
    """Return the config without the paths and the device of its run."""
    defaults = TrainingOptions()
    training = dataclasses.replace(
        config.training, output_dir=defaults.output_dir, init_from=defaults.init_from, device=defaults.device
    )
    sections = {
        **config.sections,
        "training": training,
        "sampling": dataclasses.replace(
            config.sampling,
            prompts=tuple(prompts),
            scalars=tuple(f"{name}={value!r}" for name, value in scalars.items()),
        ),
        "cache": dataclasses.replace(config.cache, dir=CacheOptions().dir),
    }
    return dataclasses.replace(config, sections=sections, plugins=tuple(plugins))
