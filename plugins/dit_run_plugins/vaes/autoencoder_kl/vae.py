"""The KL autoencoder as a torch module; its encoder and decoder are those of diffusers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dit_run.hub import DIFFUSERS, Pretrained, WeightFiles, local_path
from dit_run_plugins.vaes.autoencoder_kl import CONFIG_FILES, STABLE_DIFFUSION, AutoencoderKl
from dit_run_plugins.vaes.autoencoder_kl.original_layout import current_name, current_tensors
from dit_run_plugins.vaes.latent_scaling import latent_channels, shift_and_scale
from dit_run_plugins.vaes.lazy_autoencoder import LazyAutoencoder, load_weights

__all__ = ["KlVae", "build"]

_VERSION = 1
"""Increased by hand when the same files give other latents."""
_SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
_ORIGINAL = {
    f"stabilityai/sd-vae-ft-{name}-original": tuple(
        f"vae-ft-{file}-ema-pruned.{kind}" for kind in ("safetensors", "ckpt")
    )
    for name, file in (("mse", "mse-840000"), ("ema", "ema-560000"))
}
"""Hub repositories with a single file in the original layout and no config."""


class KlVae(LazyAutoencoder):
    """Implements :class:`dit_run.protocols.VAE` with the mean and standard deviation of the posterior."""

    def __init__(self, config: Mapping[str, Any], files: WeightFiles, *, use_slicing: bool) -> None:
        where = f"{files.key}: the config of {files.file.parent}"
        channels = latent_channels(config, where)
        shift, scale = shift_and_scale(config, where, channels=channels, default_scale=0.18215)
        super().__init__(
            partial(_load_half, config, files),
            ("autoencoder_kl", _VERSION),
            files,
            config,
            latent_channels=channels,
            factor=2 ** (_levels(config) - 1),
            shift=shift,
            scale=scale,
            use_slicing=use_slicing,
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.run_encoder(images).chunk(2, dim=1)
        std = torch.exp(0.5 * log_variance.clamp(-30, 20))
        return (mean - self.shift) * self.scale, std * self.scale


def build(options: AutoencoderKl) -> KlVae:
    """Return the VAE of a folder, a hub repository or a single file, whose weights are loaded at their first use.

    Raises InputError if files are missing or do not belong to such a VAE.
    """
    weights = Pretrained(options.pretrained_model_name, "vae.pretrained_model_name", options.revision)
    single = _single_file(weights)
    if single is not None:
        return KlVae(STABLE_DIFFUSION, WeightFiles(weights.key, single), use_slicing=options.use_slicing)
    config = weights.object(*CONFIG_FILES)
    if config.get("_class_name") != "AutoencoderKL":
        raise weights.error(f"describes {config.get('_class_name', 'another kind of model')}, not AutoencoderKL")
    return KlVae(config, weights.weight_files(DIFFUSERS, ("vae/", "")), use_slicing=options.use_slicing)


def _single_file(weights: Pretrained) -> Path | None:
    """Return the file in the original layout if the name is that file, its folder, or a known repository with one."""
    local = local_path(weights.name)
    if local is None:
        known = _ORIGINAL.get(weights.name)
        return weights.need(*known) if known else None
    if local.is_file():
        return local
    if any((local / config).exists() for config in CONFIG_FILES):
        return None
    files = [path for path in sorted(local.iterdir()) if path.suffix in _SINGLE_FILES]
    return files[0] if len({path.stem for path in files}) == 1 else None


def _load_half(config: Mapping[str, Any], files: WeightFiles, half: str) -> nn.Module:
    """Load the encoder or the decoder of diffusers' AutoencoderKL with the convolution next to the latents, if any."""
    from diffusers import AutoencoderKL

    with torch.device("meta"):  # the weights are put in place, so none are initialised
        whole = AutoencoderKL.from_config(dict(config))
    parts = ("encoder", "quant_conv") if half == "encoder" else ("post_quant_conv", "decoder")
    modules = {part: getattr(whole, part) for part in parts if getattr(whole, part) is not None}
    levels = _levels(config)
    tensors = files.tensors(lambda name: current_name(name, levels).split(".")[0] in modules)
    assumed = " (without a config.json; Stable Diffusion's is assumed)" if config is STABLE_DIFFUSION else ""
    network = nn.Sequential(OrderedDict(modules))
    return load_weights(network, current_tensors(tensors, levels), f"{files.key}: {files.file}{assumed}")


def _levels(config: Mapping[str, Any]) -> int:
    return len(config.get("block_out_channels", (64,)))
