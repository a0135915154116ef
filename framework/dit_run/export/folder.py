"""An exported model: a folder of weights, config and model card that needs no run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dit_run.config.dump import dump
from dit_run.export.diffusers_folder import write_pipeline
from dit_run.export.export_options import ExportOptions
from dit_run.export.frozen_files import FrozenParts
from dit_run.export.frozen_places import original_names, write_places
from dit_run.export.loss_drawing import curves
from dit_run.export.model_card import CURVES, SAMPLES, TrainedWeights, model_card
from dit_run.export.pipeline_use import PipelineUse
from dit_run.export.stock_folder import StockExport
from dit_run.model.latent_normalization import LATENT_PREFIX
from dit_run.problems import DitRunError, InputError, NotInDiffusers
from dit_run.registry.plugin_files import PluginFile
from dit_run.runs.checkpoint.safetensors_file import read_safetensors, write_safetensors
from dit_run.runs.checkpoint.weights import EMA
from dit_run.runs.run_folder import RunFolder
from dit_run.settings import CacheOptions, Config, TrainingOptions

__all__ = [
    "OLD_WEIGHTS_FILE",
    "TORCH_DTYPES",
    "WEIGHTS_FILE",
    "ExportSource",
    "TrainedWeights",
    "read_export",
    "weights_metadata",
    "write_export",
]

WEIGHTS_FILE, OLD_WEIGHTS_FILE = "single.safetensors", "model.safetensors"
"""File of all trained weights, and its name in exports of earlier versions."""

TORCH_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""The precisions of exported weights."""


@dataclass(frozen=True)
class ExportSource:
    """Files and facts of the run that is exported."""

    plugin_files: Sequence[PluginFile] = ()
    prompts: Sequence[str] = ()
    scalars: Mapping[str, float] = field(default_factory=dict)
    """Values of numbers that the model takes."""
    metrics: Sequence[Mapping[str, Any]] = ()
    """The lines of its metrics file."""
    samples: Path | None = None
    """Its newest grid of samples."""
    folder: Path | None = None
    """The folder that it was loaded from: an exported one may have copies of frozen parts."""


def write_export(
    folder: Path,
    model: TrainedWeights,
    config: Config,
    source: ExportSource,
    options: ExportOptions,
    *,
    save_adapter: Callable[[Path], None] | None = None,
) -> PipelineUse | None:
    """Write ``single.safetensors``, ``config.yaml``, ``README.md`` and the plugin files to a new or empty folder.

    With format ``diffusers`` there are the components of a pipeline too, whose use is returned; of an adapter alone,
    ``save_adapter`` writes files for other programs in their place. The prompts and scalars of ``source`` become the
    config's own. Raises InputError for a folder that holds files and for code that programs without dit-run cannot
    run, DitRunError where the disk fails; then nothing stays in the folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder; export to another folder")
    with _whole_or_nothing(folder):
        tensors = _converted(model.tensors, options.dtype)
        target = RunFolder(folder)
        plugins = [str(target.keep_plugin(file).relative_to(target.path)) for file in source.plugin_files]
        portable = _portable(config, plugins, source)
        named = portable if source.folder is None else original_names(portable, source.folder)
        use = None
        if options.format == "diffusers" and save_adapter is not None:
            save_adapter(folder)
        elif options.format == "diffusers":
            use = _pipeline(folder, portable if options.frozen else named, tensors, options)
            portable = named
        text = dump(portable)
        write_safetensors(folder / WEIGHTS_FILE, tensors, {**weights_metadata(model), "config": text})
        drawing = curves(source.metrics)
        if drawing is not None:
            (folder / CURVES).write_text(drawing, encoding="utf-8")
        if source.samples is not None:
            shutil.copyfile(source.samples, folder / SAMPLES)
        card = model_card(portable, dataclasses.replace(model, tensors=tensors), folder, options, use)
        (folder / "README.md").write_text(card, encoding="utf-8")
        target.write_config(text)
    return use


def _pipeline(folder: Path, config: Config, tensors: Mapping[str, Tensor], options: ExportOptions) -> PipelineUse:
    """Write a pipeline of diffusers' own classes where all parts fit one, else a pipeline with code."""
    parts = FrozenParts.of(config)
    try:
        if not options.frozen:
            raise NotInDiffusers("a pipeline without code holds its frozen parts, and these are left out")
        use = StockExport(config, tensors, parts).write(folder)
    except NotInDiffusers as error:
        use = PipelineUse(write_pipeline(folder, config, tensors, parts, copied=options.frozen), reason=str(error))
    write_places(folder, use.places)
    return use


@contextlib.contextmanager
def _whole_or_nothing(folder: Path) -> Iterator[None]:
    """Make the folder, and empty it again if the context fails."""
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        for path in folder.iterdir() if folder.is_dir() else ():
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        if not existed:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            place = error.filename or folder
            raise DitRunError(f"the export to {folder} failed: {place}: {error.strerror or error}") from error
        raise


def _converted(tensors: Mapping[str, Tensor], dtype: str) -> dict[str, Tensor]:
    target = TORCH_DTYPES[dtype]
    return {
        name: value.to(target) if value.is_floating_point() and not name.startswith(LATENT_PREFIX) else value
        for name, value in tensors.items()
    }


def read_export(path: Path) -> TrainedWeights:
    """Return the model in an exported folder's file of weights. Raises InputError."""
    tensors, facts = read_safetensors(path)
    try:
        average = facts.get("average", EMA) if facts["weights"] == "ema" else None
        step, global_batch = int(facts["step"]), int(facts["global_batch"])
        return TrainedWeights(tensors, step, global_batch, average, facts.get("base", ""))
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{path} was not written by an export of dit-run: its metadata have no valid step, global_batch and weights"
        ) from error


def weights_metadata(model: TrainedWeights) -> dict[str, str]:
    """Return the texts in a file of weights, which :func:`read_export` reads."""
    facts = {"format": "pt", "global_batch": str(model.global_batch), "step": str(model.step)}
    facts["weights"] = "live" if model.average is None else "ema"
    named = {"average": model.average} if model.average not in (None, EMA) else {}
    return {**facts, **named, **({"base": model.base} if model.base else {})}


def _portable(config: Config, plugins: Sequence[str], source: ExportSource) -> Config:
    """Return the config without the paths and the device of its run; an adapter needs that of its base."""
    defaults = TrainingOptions()
    base = defaults.init_from if config.adapter is None else config.training.init_from
    training = dataclasses.replace(
        config.training, output_dir=defaults.output_dir, init_from=base, device=defaults.device
    )
    sections = {
        **config.sections,
        "training": training,
        "sampling": dataclasses.replace(
            config.sampling,
            prompts=tuple(source.prompts),
            scalars=tuple(f"{name}={value!r}" for name, value in source.scalars.items()),
        ),
        "cache": dataclasses.replace(config.cache, dir=CacheOptions().dir),
    }
    return dataclasses.replace(config, sections=sections, plugins=tuple(plugins))
