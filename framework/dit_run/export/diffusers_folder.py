"""A folder that ``DiffusionPipeline.from_pretrained`` loads in a program without dit-run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from dit_run.export.component_code import CodeFile, component_code, pipeline_code
from dit_run.export.frozen_files import FrozenFiles, FrozenParts
from dit_run.export.frozen_places import FrozenPlaces
from dit_run.model.codec import LatentShape
from dit_run.model.denoiser import TEXT_ENCODER_PREFIX, encoder_prefix, model_keywords
from dit_run.model.latent_normalization import LATENT_PREFIX
from dit_run.options import plain
from dit_run.problems import InputError
from dit_run.registry.factories import takes
from dit_run.runs.checkpoint.safetensors_file import write_safetensors
from dit_run.settings import Config

__all__ = ["write_pipeline"]

MOST_ENCODERS = 4
"""Text encoders that :class:`dit_run.remote.pipeline.DitRunPipeline` takes."""
_SAMPLING = ("guidance_interval", "guidance_rescale", "guidance_scale", "sampler", "seed", "steps")
"""Settings of the section ``sampling`` that a call of the pipeline may give."""
_WEIGHTS, _TRAINED = "diffusion_pytorch_model.safetensors", "trained/weights.safetensors"
"""Files of the weights of the model, and of a text encoder that was trained, in the folders of the components."""
_PREFIX = "network."
"""Path of the run's own module in the classes of :mod:`dit_run.remote.components`, with a dot."""


def write_pipeline(
    folder: Path, config: Config, tensors: Mapping[str, Tensor], frozen: FrozenParts, *, copied: bool
) -> FrozenPlaces:
    """Write ``model_index.json`` and a folder per component; return the places of copied files.

    ``copied`` copies the pretrained files of frozen parts; otherwise they are loaded by their names. Raises InputError
    for a component whose code needs what other programs lack.
    """
    texts, vae = frozen.texts, frozen.vae
    if len(texts) > MOST_ENCODERS:
        raise InputError(
            f"a pipeline of diffusers has at most {MOST_ENCODERS} text encoders, and this run has {len(texts)}; with "
            "format safetensors the export holds the weights alone"
        )
    parts = {"transformer": _model(folder / "transformer", config, tensors, [text.part for text in texts], vae.part)}
    places: dict[str, list[Mapping[str, str | None]]] = {"text_encoder": [], "vae": []}
    for place, text in enumerate(texts):
        parts[text.section], copies = _frozen_part(folder / text.section, text, "ExportedTextEncoder", copied=copied)
        places["text_encoder"].append(copies)
        _write_weights(folder / text.section / _TRAINED, tensors, encoder_prefix(place, len(texts)))
    normalization = _normalization(tensors)
    parts["vae"], copies = _frozen_part(folder / "vae", vae, "ExportedVae", copied=copied, values=normalization)
    places["vae"].append(copies)
    parts["scheduler"] = _scheduler(folder / "scheduler", config, LatentShape.of(vae.part))
    pipeline = pipeline_code(config.guidance)
    _write_code(folder, pipeline)
    _write_json(folder / "model_index.json", _index(config, pipeline, parts))
    return places


def _index(config: Config, pipeline: CodeFile, parts: Mapping[str, CodeFile]) -> dict[str, Any]:
    sampling = plain(config.sampling)
    return {
        "_class_name": [pipeline.stem, pipeline.class_name],
        "_diffusers_version": version("diffusers"),
        **{name: [code.stem, code.class_name] for name, code in sorted(parts.items())},
        "image_size": config.data.common.image_size,
        "mixed_precision": config.training.mixed_precision,
        "text_dtype": config.cache.text_dtype,
        "max_tokens": config.cache.max_tokens,
        "sampling": {name: sampling[name] for name in _SAMPLING},
        "scalars": config.sampling.scalar_values(),
    }


def _model(folder: Path, config: Config, tensors: Mapping[str, Tensor], texts: Sequence[Any], vae: Any) -> CodeFile:
    described = model_keywords(texts, vae)
    keywords = {name: value for name, value in described.items() if takes(config.model.component, name)}
    code = component_code(config.model, "ExportedModel")
    _write_weights(folder / _WEIGHTS, tensors, "")
    _write_part(folder, code, "config.json", {"keywords": keywords})
    return code


def _normalization(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the mean and the deviation of latents that are normalised, as values of the VAE's config."""
    named = {name: value.tolist() for name, value in tensors.items() if name.startswith(LATENT_PREFIX)}
    return {f"latent_{name.removeprefix(LATENT_PREFIX)}": values for name, values in named.items()}


def _frozen_part(
    folder: Path, files: FrozenFiles, base: str, *, copied: bool, values: Mapping[str, Any] | None = None
) -> tuple[CodeFile, Mapping[str, str | None]]:
    """Write a frozen part; return its code, and the places of its copied files in the exported folder."""
    places = files.copy(folder) if copied else files.by_name()
    choice = replace(files.choice, options=replace(files.choice.options, **places))
    code = component_code(choice, base, {"pretrained": dict(places)})
    _write_part(folder, code, "config.json", values or {})
    return code, {option: f"{folder.name}/{place}" for option, place in places.items()}


def _scheduler(folder: Path, config: Config, latent_shape: LatentShape) -> CodeFile:
    size, fixed = config.data.common.image_size, not config.has_buckets
    code = component_code(config.scheduler, "ExportedScheduler")
    values = {
        "latent_shape": list(latent_shape(size, size)) if fixed else None,
        "takes_shape": takes(config.scheduler.component, "latent_shape"),
    }
    _write_part(folder, code, "scheduler_config.json", values)
    return code


def _write_part(folder: Path, code: CodeFile, file: str, values: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _write_code(folder, code)
    _write_json(folder / file, {"_class_name": code.class_name, "_diffusers_version": version("diffusers"), **values})


def _write_code(folder: Path, code: CodeFile) -> None:
    (folder / f"{code.stem}.py").write_text(code.text, encoding="utf-8")


def _write_weights(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Write the tensors under a prefix, that of a text encoder, or those of the model; none for a frozen part."""
    named = {
        _PREFIX + name.removeprefix(prefix): value
        for name, value in tensors.items()
        if (name.startswith(prefix) if prefix else not name.startswith((TEXT_ENCODER_PREFIX, LATENT_PREFIX)))
    }
    if named:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(path, named, {"format": "pt"})


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
