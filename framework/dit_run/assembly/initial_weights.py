"""Initial weights from elsewhere (``training.init_from``): a run, a checkpoint, an exported folder or a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from dit_run.config.renamed_keys import with_current_names
from dit_run.export.folder import WEIGHTS_FILE
from dit_run.hub import DIFFUSERS, TRANSFORMERS, Pretrained, read_tensors
from dit_run.model.denoiser import Denoiser
from dit_run.model.latent_normalization import LATENT_PREFIX
from dit_run.model.name_patterns import renamed
from dit_run.model.tensor_fitting import Fitting, added_prefix, fit
from dit_run.model.tensor_resizing import resize_known
from dit_run.problems import InputError
from dit_run.runs.checkpoint.commit import MANIFEST
from dit_run.runs.checkpoint.weights import FIRST, load_weights, newest_weights
from dit_run.settings import Config
from dit_run.system.json_files import read_object

__all__ = ["initialise"]

_KEY = "training.init_from"
_LEAST_SHARE = 0.1
"""Share of the model's numbers that a source has to give; one that gives less does not fit the model."""


@dataclass(frozen=True)
class _FoundWeights:
    """Weights, and what is known of the model that they belong to."""

    where: Path
    tensors: Mapping[str, Tensor]
    model: Mapping[str, Any] = field(default_factory=dict)
    """Its section ``model`` of a config; empty if it is not known."""
    notices: tuple[str, ...] = ()


def initialise(denoiser: Denoiser, config: Config) -> list[str]:
    """Load the weights that ``training.init_from`` names, the averaged ones where there are any, as far as they fit.

    Returns lines that say which tensors were taken, resized and left out. Raises InputError where there are no weights,
    or hardly any of them fits the model.
    """
    training = config.training
    assert training.init_from is not None
    source = _read(Path(training.init_from))
    source = replace(source, model=_with_current_names(source.model, config))
    key = "training.init_rename"
    names = renamed(source.tensors, training.init_rename, key=key) if training.init_rename else {}
    given = {names.get(name, name): value for name, value in source.tensors.items()}
    expected = denoiser.tensors()
    fitting = fit(expected, given, lambda name, value, initial: _resized(denoiser, source, name, value, initial))
    if fitting.share_of(expected) < _LEAST_SHARE:
        raise InputError(_misfit(source.where, fitting, expected, given))
    with torch.no_grad():
        for name, value in fitting.tensors.items():
            expected[name].copy_(value)
    lines = [f"{_KEY} {source.where}: {fitting.summary}", *(f"  {line}" for line in fitting.lines())]
    if any(name.startswith(LATENT_PREFIX) for name in fitting.unknown):
        lines.append(
            "  these weights were trained on normalised latents: vae.normalize: data takes their normalisation"
        )
    return [*source.notices, *lines]


def _resized(denoiser: Denoiser, source: _FoundWeights, name: str, value: Tensor, initial: Tensor) -> Tensor | None:
    """Ask the model first, which knows its layers, then resize what has the same form in all models."""
    of_model = getattr(denoiser.model, "resized", None)
    found: Tensor | None = of_model(name, value, dict(source.model)) if of_model is not None and source.model else None
    if found is not None and found.shape != initial.shape:
        raise InputError(
            f"{_KEY}: the model resized {name} to {list(found.shape)}, not to {list(initial.shape)} (a fault of its "
            "plugin)"
        )
    return resize_known(name, value, initial) if found is None else found


def _misfit(where: Path, fitting: Fitting, expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    lines = "".join(f"\n  {line}" for line in fitting.lines())
    pair = added_prefix(expected, given)
    help_ = f"\nWith training.init_rename: {{'{pair[0]}': '{pair[1]}'}} most names would fit." if pair else ""
    return f"the weights in {where} ({_KEY}) do not fit the model of this config: {fitting.summary}{lines}{help_}"


def _read(path: Path) -> _FoundWeights:
    if path.is_file():
        return _of_file(path)
    if (path / MANIFEST).exists():
        return _of_checkpoint(path)
    found = sorted((path / "checkpoints").glob("step-*"))
    if found:
        newest, passed_over = newest_weights(found, average=FIRST)
        assert newest is not None
        return _of_checkpoint(newest, tuple(f"damaged checkpoint passed over: {each}" for each in passed_over))
    return _of_folder(path)


def _of_checkpoint(path: Path, notices: tuple[str, ...] = ()) -> _FoundWeights:
    config = read_object(path / "config.json") if (path / "config.json").exists() else {}
    _refuse_adapter(path, config)
    return _FoundWeights(path, load_weights(path, average=FIRST), config.get("model", {}), notices)


def _of_file(path: Path) -> _FoundWeights:
    try:
        return _FoundWeights(path, read_tensors(path))
    except InputError as error:
        raise InputError(f"{_KEY}: {error}") from error


def _of_folder(path: Path) -> _FoundWeights:
    """Read an exported folder, or one that the libraries transformers and diffusers save."""
    if (path / WEIGHTS_FILE).is_file():
        config = _exported_config(path / "config.yaml")
        _refuse_adapter(path, config)
        return _FoundWeights(path, read_tensors(path / WEIGHTS_FILE), _section(config, "model"))
    folders = ("", "transformer/")
    for library in (TRANSFORMERS, DIFFUSERS) if path.is_dir() else ():
        if any(True for folder in folders for _ in (path / folder).glob(f"{library.safetensors}.*")):
            files = Pretrained(str(path), _KEY).weight_files(library, folders)
            return _FoundWeights(path, files.tensors(), _section(_exported_config(path / "config.yaml"), "model"))
    raise InputError(
        f"{_KEY} is {path}, which is neither a run folder with a checkpoint, a checkpoint, an exported folder, nor a "
        "file of weights"
    )


def _exported_config(path: Path) -> Mapping[str, Any]:
    """Return an exported config, empty where there is none that can be read."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return values if isinstance(values, dict) else {}


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, dict) else {}


def _with_current_names(model: Mapping[str, Any], config: Config) -> Mapping[str, Any]:
    """Return a section ``model`` with the names that its keys have now; one of another type stays as it is."""
    if model.get("type") != config.model.type:
        return model
    current: Mapping[str, Any] = with_current_names({"model": model}, config)["model"]
    return current


def _refuse_adapter(path: Path, config: Mapping[str, Any]) -> None:
    """Raise InputError for weights of an adapter alone."""
    if _section(config, "adapter"):
        raise InputError(
            f"{_KEY} is {path}, which has the weights of an adapter alone; merge it with its base first, with "
            "dit-run export RUN FOLDER --merge, and start from that folder"
        )
