"""The config of a transformer in diffusers' layout: its class, and the values that make it; light to import."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dit_run.hub import DIFFUSERS, Pretrained, local_path, on_hub
from dit_run.problems import InputError, KeyPath, Problem
from dit_run.protocols import RuleContext
from dit_run_plugins.models.diffusers_transformer.families import FAMILIES

__all__ = [
    "FOLDERS",
    "KEY",
    "TransformerConfig",
    "folder_problem",
    "pretrained",
    "read_config",
    "read_schedule",
    "unknown_class",
    "weight_problems",
]

KEY = "model.pretrained_model_name"
FOLDERS = ("transformer/", "")
"""Places of a transformer: a pipeline's subfolder, or the top of a repository."""
_CONFIG_FILES = tuple(f"{folder}config.json" for folder in FOLDERS)
_SCHEDULER_FILE = "scheduler/scheduler_config.json"
_FORMER: Mapping[str, str] = {"ada_norm_single": "PixArtTransformer2DModel", "ada_norm_zero": "DiTTransformer2DModel"}
"""Classes that were a Transformer2DModel in earlier releases of diffusers, by its norm_type."""


@dataclass(frozen=True)
class TransformerConfig:
    """The content of a config.json."""

    class_name: str
    values: Mapping[str, Any]
    """Arguments of the class."""

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> TransformerConfig:
        """Return the config of a JSON object, with the class that diffusers has for it today."""
        name = str(content.get("_class_name"))
        if name == "Transformer2DModel":
            name = _FORMER.get(str(content.get("norm_type")), name)
        return cls(name, {key: value for key, value in content.items() if not key.startswith("_")})


def pretrained(name: str, revision: str | None) -> Pretrained:
    """Return the weights that a model's options name."""
    return Pretrained(name, KEY, revision)


def read_config(weights: Pretrained, *, download: bool) -> TransformerConfig | None:
    """Return the config of these weights; None for a name on a hub whose file is not on this machine.

    Raises InputError for a folder without a readable config, and where ``download`` fails.
    """
    if not download and local_path(weights.name) is None:
        content = weights.cached_object(*_CONFIG_FILES)
        return None if content is None else TransformerConfig.of(content)
    return TransformerConfig.of(weights.object(*_CONFIG_FILES))


def read_schedule(weights: Pretrained, *, download: bool) -> Mapping[str, Any]:
    """Return the config of the scheduler in the pipeline of these weights.

    It is empty for weights without one, and for those on a hub whose file is neither on this machine nor downloaded.
    """
    found = weights.cached_object(_SCHEDULER_FILE)
    if found is None and download and on_hub(weights.name):
        _fetch_schedule(weights)
        found = weights.cached_object(_SCHEDULER_FILE)
    return found or {}


@functools.cache
def _fetch_schedule(weights: Pretrained) -> None:
    """Download the config of the scheduler, once: each check of the rules asks, and a hub may be slow to answer."""
    weights.fetch(_SCHEDULER_FILE)


def unknown_class(name: str | None) -> str:
    """Return the text about a class that no run can train."""
    classes = ", ".join(FAMILIES)
    if name == "DiTTransformer2DModel":
        return f"{name} takes numbers of classes, not texts; use model.type dit, or one of {classes}"
    return f"{name} is none of the image transformers that can be trained: {classes}"


def weight_problems(context: RuleContext, weights: Pretrained) -> Iterator[Problem]:
    """Refuse a local folder without weights, or without one of its shards."""
    if local_path(weights.name) is None:
        return
    try:
        weights.weight_files(DIFFUSERS, FOLDERS)
    except InputError as error:
        yield folder_problem(context.path, error)


def folder_problem(path: KeyPath, error: InputError) -> Problem:
    """Return the problem of an error about the folder."""
    return Problem("folder-does-not-fit", str(error), (*path, "pretrained_model_name"))
