"""Rules for the options of pixart; light to import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dit_run.problems import InputError, Problem
from dit_run.protocols import Adjustment, RuleContext
from dit_run_plugins.models.diffusers_transformer.rules import all_written, channels_problems, config_of, scheduler_fits
from dit_run_plugins.models.diffusers_transformer.transformer_config import (
    TransformerConfig,
    folder_problem,
    pretrained,
    weight_problems,
)
from dit_run_plugins.models.pixart import Pixart

__all__ = ["CLASS", "folder_fits", "micro_conditions_fit", "options_in"]

CLASS = "PixArtTransformer2DModel"
_ARCHITECTURE = (
    "hidden_size",
    "num_layers",
    "num_heads",
    "patch_size",
    "in_channels",
    "out_channels",
    "sample_size",
    "interpolation_scale",
    "micro_conditions",
    "learned_sigma",
)
"""Options that a config.json decides."""


def micro_conditions_fit(context: RuleContext) -> Iterator[Problem]:
    """Refuse micro-conditions for a width that cannot be divided among three numbers."""
    options: Pixart = context.options
    if options.micro_conditions and options.hidden_size % 3:
        yield Problem(
            "width-does-not-divide",
            f"model.micro_conditions shares model.hidden_size among three numbers, and 3 does not divide "
            f"{options.hidden_size}",
            (*context.path, "micro_conditions"),
            related=((*context.path, "hidden_size"),),
            help=("set a hidden_size that 12 divides, or micro_conditions: false",),
        )


def folder_fits(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """Take the architecture from pretrained weights; refuse a folder of another class, and keys that disagree."""
    options: Pixart = context.options
    if options.pretrained_model_name is None:
        return
    weights = pretrained(options.pretrained_model_name, options.revision)
    try:
        found = config_of(context, weights)
        theirs = {} if found is None else options_in(found)
    except InputError as error:
        if not all_written(context, _ARCHITECTURE):
            yield folder_problem(context.path, error)
        return
    if found is None:
        return
    if found.class_name != CLASS:
        yield folder_problem(context.path, weights.error(f"holds {found.class_name}, not {CLASS}"))
        return
    yield from _agree(context, theirs)
    yield from channels_problems(context, theirs["in_channels"])
    yield from weight_problems(context, weights)
    yield from scheduler_fits(context, CLASS, weights)


def options_in(found: TransformerConfig) -> dict[str, Any]:
    """Return the options that make the network of a config.json, as far as it has them. Raises InputError."""
    config = found.values
    try:
        size, into = int(config.get("sample_size", 128)), int(config.get("in_channels", 4))
        heads = int(config.get("num_attention_heads", 16))
        return {
            "hidden_size": heads * int(config.get("attention_head_dim", 72)),
            "num_layers": int(config.get("num_layers", 28)),
            "num_heads": heads,
            "patch_size": int(config.get("patch_size", 2)),
            "in_channels": into,
            "out_channels": into,
            "sample_size": size,
            "interpolation_scale": float(config.get("interpolation_scale") or max(size // 64, 1)),
            "micro_conditions": _or(config.get("use_additional_conditions"), size == 128),
            "learned_sigma": config.get("out_channels", 8) == 2 * into,
        }
    except (TypeError, ValueError) as error:
        raise InputError(f"model.pretrained_model_name: config.json has a value of another kind: {error}") from error


def _or(value: bool | None, default: bool) -> bool:
    return default if value is None else value


def _agree(context: RuleContext, theirs: Mapping[str, Any]) -> Iterator[Problem | Adjustment]:
    for key, value in theirs.items():
        path, own = (*context.path, key), getattr(context.options, key)
        if own == value:
            continue
        if path not in context.written:
            yield Adjustment(path, value, "pretrained weights have their own architecture", quiet=True)
        else:
            name = context.options.pretrained_model_name
            message = f"model.{key} is {own}, but {value} in the config.json of {name}"
            yield Problem("config-disagrees", message, path, help=(f"leave {key} out",))
