"""The tiny autoencoder as a torch module."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dit_run.hub import DIFFUSERS, Pretrained, WeightFiles, local_path
from dit_run.problems import InputError
from dit_run_plugins.vaes.autoencoder_tiny import AutoencoderTiny
from dit_run_plugins.vaes.autoencoder_tiny.taesd_layout import OriginalDecoder, OriginalEncoder
from dit_run_plugins.vaes.latent_scaling import latent_channels, shift_and_scale
from dit_run_plugins.vaes.lazy_autoencoder import LazyAutoencoder, load_weights
from dit_run_plugins.vaes.pretrained_vae import read_config

__all__ = ["TinyVae", "build"]

_VERSION = 1
"""Increased by hand when the same files give other latents."""


class TinyVae(LazyAutoencoder):
    """Implements :class:`dit_run.protocols.VAE` without a posterior."""

    posterior = False

    def encode(self, images: Tensor) -> tuple[Tensor, None]:
        return self.scaled(self.run_encoder(images)), None


def build(options: AutoencoderTiny) -> TinyVae:
    """Return the VAE of a folder or a hub repository, in either layout, whose weights are loaded at their first use.

    Raises InputError if files are missing or do not belong to such a VAE.
    """
    weights = options.weights()
    folder = local_path(weights.name)
    if folder is not None and folder.is_dir():
        encoder, decoder = (_original_file(folder, half) for half in ("encoder", "decoder"))
        if encoder is not None and decoder is not None:
            return _from_original(weights, encoder, decoder, options.use_slicing)
    config, where = read_config(weights, ["config.json"], ["AutoencoderTiny"])
    files = weights.weight_files(DIFFUSERS)
    channels = latent_channels(config, where)
    shift, scale = shift_and_scale(config, where, channels=channels, default_scale=1.0)
    return TinyVae(
        partial(_load_half, config, files),
        ("autoencoder_tiny", _VERSION),
        files,
        config,
        latent_channels=channels,
        factor=2 ** (len(config.get("encoder_block_out_channels", (64,) * 4)) - 1),
        shift=shift,
        scale=scale,
        use_slicing=options.use_slicing,
    )


def _original_file(folder: Path, half: str) -> Path | None:
    found = [path for suffix in ("safetensors", "pth") for path in sorted(folder.glob(f"*{half}.{suffix}"))]
    return found[0] if found else None


def _from_original(weights: Pretrained, encoder: Path, decoder: Path, use_slicing: bool) -> TinyVae:
    last = weights.tensors(encoder, lambda name: name == "14.weight").get("14.weight")
    if last is None:
        raise InputError(f"{weights.key}: {encoder}: no weights of a TAESD encoder: 14.weight is missing")
    load = partial(_load_original, weights, {"encoder": encoder, "decoder": decoder})
    channels = len(last)
    files = WeightFiles.of_file(weights.key, encoder)
    return TinyVae(load, ("taesd", _VERSION), files, latent_channels=channels, factor=8, use_slicing=use_slicing)


def _load_original(weights: Pretrained, files: Mapping[str, Path], half: str) -> nn.Module:
    file = files[half]
    tensors = weights.tensors(file)
    try:
        with torch.device("meta"):
            network = OriginalEncoder(tensors) if half == "encoder" else OriginalDecoder(tensors)
    except (KeyError, IndexError) as error:
        raise InputError(f"{weights.key}: {file}: no weights of a TAESD {half}: {error} is missing") from error
    return load_weights(network, tensors, f"{weights.key}: {file}")


def _load_half(config: Mapping[str, Any], files: WeightFiles, name: str) -> nn.Module:
    from diffusers import AutoencoderTiny as Diffusers

    with torch.device("meta"):
        network: nn.Module = getattr(Diffusers.from_config(dict(config)), name)
    tensors = files.tensors(lambda each: each.startswith(f"{name}."))
    own = {each.removeprefix(f"{name}."): value for each, value in tensors.items()}
    return load_weights(network, own, f"{files.key}: {files.file}")
