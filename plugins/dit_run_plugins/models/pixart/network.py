"""PixArt's network: the class of diffusers with the interface of the core."""

from __future__ import annotations

from typing import Any

from dit_run.hub import DIFFUSERS
from dit_run_plugins.models.diffusers_transformer.network import DiffusersNetwork, Widths, make_module
from dit_run_plugins.models.diffusers_transformer.pretrained_weights import load_weights
from dit_run_plugins.models.diffusers_transformer.transformer_config import (
    FOLDERS,
    KEY,
    TransformerConfig,
    pretrained,
    read_config,
)
from dit_run_plugins.models.dit.rules import check_channels
from dit_run_plugins.models.pixart import Pixart
from dit_run_plugins.models.pixart.rules import CLASS, options_in

__all__ = ["build"]

_FREE = {"dropout", "interpolation_scale", "out_channels", "use_additional_conditions", "num_embeds_ada_norm"}
"""Keys of a config.json that may differ from the network's, because the options stand for them."""


def build(
    options: Pixart, *, latent_channels: int, latent_factor: int, text_width: int, initial: bool = True
) -> DiffusersNetwork:
    """Return the model for these latents and this text encoder, with pretrained or new weights.

    Raises InputError for channels, text widths or weights that do not fit.
    """
    load = initial and options.pretrained_model_name is not None
    if not load:
        check_channels(options.in_channels, latent_channels)
    found = _pretrained_config(options, download=load)
    if found is not None:
        widths = Widths(latent_channels=latent_channels, text_width=text_width, pooled_width=0)
        widths.check(CLASS, found.values, KEY)
    module = make_module(CLASS, _config(options, text_width), KEY if load else "model", initialise=not load)
    notices = (_load(module, options, found),) if load and found is not None else ()
    return DiffusersNetwork(
        module,
        class_name=CLASS,
        latent_channels=latent_channels,
        latent_factor=latent_factor,
        gradient_checkpointing=options.gradient_checkpointing,
        notices=notices,
    )


def _config(options: Pixart, text_width: int) -> dict[str, Any]:
    """Return the arguments of diffusers' class."""
    return {
        "num_attention_heads": options.num_heads,
        "attention_head_dim": options.hidden_size // options.num_heads,
        "in_channels": options.in_channels,
        "out_channels": options.out_channels * (2 if options.learned_sigma else 1),
        "num_layers": options.num_layers,
        "dropout": options.dropout,
        "cross_attention_dim": options.hidden_size,
        "sample_size": options.sample_size,
        "patch_size": options.patch_size,
        "interpolation_scale": options.interpolation_scale,
        "use_additional_conditions": options.micro_conditions,
        "caption_channels": text_width,
    }


def _pretrained_config(options: Pixart, *, download: bool) -> TransformerConfig | None:
    """Return the config of the pretrained weights; None without any, or where only a download shows it."""
    if options.pretrained_model_name is None:
        return None
    return read_config(pretrained(options.pretrained_model_name, options.revision), download=download)


def _load(module: Any, options: Pixart, found: TransformerConfig) -> str:
    """Load the pretrained weights and return a notice. Raises InputError if the folder is of another architecture."""
    assert options.pretrained_model_name is not None
    weights = pretrained(options.pretrained_model_name, options.revision)
    for key, value in options_in(found).items():
        if getattr(options, key) != value:
            raise weights.error(f"has a config.json with {key} {value}, but model.{key} is {getattr(options, key)}")
    for key, value in module.config.items():
        if key not in _FREE and not key.startswith("_") and found.values.get(key, value) not in (None, value):
            raise weights.error(
                f"has a config.json with {key} {found.values[key]}, and pixart has {value}; use model.type "
                "diffusers_transformer, which takes every config"
            )
    return load_weights(module, weights, weights.weight_files(DIFFUSERS, FOLDERS))
