"""The KL autoencoder as a torch module; its encoder and decoder are those of diffusers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dit_run.hub import DIFFUSERS, Pretrained, WeightFiles, local_path, tensor_shapes
from dit_run.problems import InputError, NotInDiffusers
from dit_run_plugins.vaes.autoencoder_kl import AutoencoderKl
from dit_run_plugins.vaes.autoencoder_kl.families import CLASSES, FAMILIES, FLUX2, family_of
from dit_run_plugins.vaes.autoencoder_kl.original_layout import current_name, current_tensors
from dit_run_plugins.vaes.latent_scaling import latent_channels, shift_and_scale
from dit_run_plugins.vaes.lazy_autoencoder import LazyAutoencoder, load_weights, tiled
from dit_run_plugins.vaes.pretrained_vae import CONFIG_FILES, read_config

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

    def __init__(self, config: Mapping[str, Any], files: WeightFiles, where: str, *, use_slicing: bool) -> None:
        """Take sizes and scale from the config, whose place ``where`` begins errors about it."""
        channels = latent_channels(config, where)
        if config.get("_class_name") == FLUX2:
            shift, scale = _batch_statistics(config, files, channels)
        else:
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
        self._class_name = str(config.get("_class_name"))
        self._whole = partial(_load_whole, config, files)

    def to_diffusers(self) -> nn.Module:
        """Return the module of diffusers. Raises NotInDiffusers for a class whose latents are not only scaled."""
        if self._class_name == FLUX2:
            raise NotInDiffusers(f"vae {self._class_name} normalises latents by running statistics")
        return self._whole()

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.run_encoder(images).chunk(2, dim=1)
        std = torch.exp(0.5 * log_variance.clamp(-30, 20))
        return self.scaled(mean), std * tiled(self.scale, std)


def build(options: AutoencoderKl) -> KlVae:
    """Return the VAE of a folder, a hub repository or a single file, whose weights are loaded at their first use.

    Raises InputError if files are missing or do not belong to such a VAE.
    """
    weights = options.weights()
    single = _single_file(weights)
    if single is not None:
        config = FAMILIES[options.family or _recognised(weights, single)]
        files, where = WeightFiles.of_file(weights.key, single), f"{weights.key}: the config of {single.parent}"
        return KlVae(config, files, where, use_slicing=options.use_slicing)
    config, where = read_config(weights, CONFIG_FILES, CLASSES)
    return KlVae(config, weights.weight_files(DIFFUSERS, ("vae/", "")), where, use_slicing=options.use_slicing)


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


def _recognised(weights: Pretrained, file: Path) -> str:
    """Return the family of a single file. Raises InputError if its tensors do not show it."""
    try:
        shapes = tensor_shapes(file)
    except InputError as error:
        raise InputError(f"{weights.key}: {error}") from error
    family = family_of(shapes)
    if family is None:
        raise InputError(
            f"{weights.key}: {file}: its tensors do not show the family of the autoencoder; set vae.family (SD3's and "
            "Flux's have the same shapes), or name a folder with a config.json"
        )
    return family


def _batch_statistics(config: Mapping[str, Any], files: WeightFiles, channels: int) -> tuple[Tensor, Tensor]:
    """Return shift and scale, float32 [1, c, p, p], from the running statistics of patches of p x p latents."""
    tensors = files.tensors(lambda name: current_name(name, _levels(config)).startswith("bn.running_"))
    values = {current_name(name, _levels(config)): value.float() for name, value in tensors.items()}
    rows, columns = config.get("patch_size", (2, 2))
    shape = (1, channels, rows, columns)
    try:
        mean, variance = (values[f"bn.running_{name}"].view(shape) for name in ("mean", "var"))
    except (KeyError, RuntimeError) as error:
        raise InputError(f"{files.key}: {files.file}: no statistics of {channels} latent channels: {error}") from error
    return mean, torch.rsqrt(variance + float(config.get("batch_norm_eps", 1e-4)))


def _load_half(config: Mapping[str, Any], files: WeightFiles, half: str) -> nn.Module:
    """Load the encoder or the decoder of diffusers' class with the convolution next to the latents, if any."""
    whole = _empty(config)
    parts = ("encoder", "quant_conv") if half == "encoder" else ("post_quant_conv", "decoder")
    modules = {part: getattr(whole, part) for part in parts if getattr(whole, part) is not None}
    levels = _levels(config)
    tensors = files.tensors(lambda name: current_name(name, levels).split(".")[0] in modules)
    family = next((name for name, known in FAMILIES.items() if known is config), None)
    assumed = f" (without a config.json; that of the family {family} is assumed)" if family is not None else ""
    network = nn.Sequential(OrderedDict(modules))
    return load_weights(network, current_tensors(tensors, levels), f"{files.key}: {files.file}{assumed}")


def _load_whole(config: Mapping[str, Any], files: WeightFiles) -> nn.Module:
    """Load both halves into diffusers' class, in the layout in which files have weights."""
    halves = (_load_half(config, files, half).state_dict() for half in ("encoder", "decoder"))
    tensors = {name: value for half in halves for name, value in half.items()}
    module = load_weights(_empty(config), tensors, f"{files.key}: {files.file}")
    return module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]


def _empty(config: Mapping[str, Any]) -> Any:
    """Return the module of a config on the meta device: its weights are put in place, so none are initialised."""
    import diffusers

    with torch.device("meta"):
        return getattr(diffusers, config["_class_name"]).from_config(dict(config))


def _levels(config: Mapping[str, Any]) -> int:
    return len(config.get("block_out_channels", (64,)))
