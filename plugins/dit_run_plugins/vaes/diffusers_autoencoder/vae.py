"""An autoencoder of diffusers as a torch module, whatever its class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dit_run.hub import DIFFUSERS, Pretrained, WeightFiles
from dit_run.problems import InputError
from dit_run_plugins.vaes.diffusers_autoencoder import DiffusersAutoencoder
from dit_run_plugins.vaes.latent_scaling import shift_and_scale
from dit_run_plugins.vaes.lazy_autoencoder import LazyAutoencoder, load_weights, tiled
from dit_run_plugins.vaes.pretrained_vae import CONFIG_FILES, read_config

__all__ = ["DiffusersVae", "build", "build_vae"]

_VERSION = 1
"""Increased by hand when the same files give other latents."""
_SIDE = 128
"""Side of the image without values whose encoding gives the shape of latents (pixels)."""


class DiffusersVae(LazyAutoencoder):
    """Implements :class:`dit_run.protocols.VAE` for any class that encodes images [n, 3, H, W]."""

    def __init__(self, config: Mapping[str, Any], files: WeightFiles, where: str, *, use_slicing: bool) -> None:
        """Take sizes and scale from the config, whose place ``where`` begins errors about it."""
        channels, factor, self.posterior = _latents_of(config, files)
        shift, scale = shift_and_scale(config, where, channels=channels, default_scale=1.0)
        super().__init__(
            partial(_load_half, config, files),
            ("diffusers", _VERSION),
            files,
            config,
            latent_channels=channels,
            factor=factor,
            shift=shift,
            scale=scale,
            use_slicing=use_slicing,
        )
        self._whole = partial(_load_whole, config, files)

    def to_diffusers(self) -> nn.Module:
        """Return the module of diffusers."""
        return self._whole().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        encoded = self.run_encoder(images)
        if not self.posterior:
            return self.scaled(encoded), None
        mean, deviation = encoded.chunk(2, dim=1)
        return self.scaled(mean), deviation * tiled(self.scale, deviation)


def build(options: DiffusersAutoencoder) -> DiffusersVae:
    """Return the VAE of a folder or a hub repository, whose weights are loaded at their first use.

    Raises InputError if files are missing, or the class does not encode images.
    """
    return build_vae(options.weights(), use_slicing=options.use_slicing)


def build_vae(weights: Pretrained, *, use_slicing: bool, classes: Sequence[str] = ()) -> DiffusersVae:
    """Return the VAE of these weights, whose config.json names one of ``classes`` if there are any."""
    config, where = read_config(weights, CONFIG_FILES, classes)
    return DiffusersVae(config, weights.weight_files(DIFFUSERS, ("vae/", "")), where, use_slicing=use_slicing)


class Encoder(nn.Module):
    """The encoding half of a model: latents [n, c, h, w], or mean and standard deviation as [n, 2c, h, w]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        output = self.model.encode(images)  # type: ignore[operator]
        posterior = getattr(output, "latent_dist", None)
        if posterior is not None:
            return torch.cat([posterior.mean, posterior.std], dim=1)
        latents: Tensor = output.latents if hasattr(output, "latents") else output.latent
        return latents


class Decoder(nn.Module):
    """The decoding half of a model: images around [-1, 1]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, latents: Tensor) -> Tensor:
        images: Tensor = self.model.decode(latents).sample  # type: ignore[operator]
        return images


def _model(config: Mapping[str, Any], key: str) -> nn.Module:
    """Return the model of a config. Raises InputError if diffusers has no such autoencoder."""
    import diffusers

    name = str(config.get("_class_name"))
    cls = getattr(diffusers, name, None)
    if not (isinstance(cls, type) and issubclass(cls, nn.Module) and hasattr(cls, "encode") and hasattr(cls, "decode")):
        raise InputError(f"{key}: its config.json names the class {name}, which is no autoencoder of diffusers")
    try:
        model: nn.Module = cls.from_config(dict(config))  # type: ignore[attr-defined]
    except Exception as error:  # a class may raise anything for values that do not fit together
        raise InputError(f"{key}: its config.json does not make a {name}: {error}") from error
    return model


@torch.no_grad()
def _latents_of(config: Mapping[str, Any], files: WeightFiles) -> tuple[int, int, bool]:
    """Return channels and factor of the latents, and True if there is a posterior, from an image without values."""
    with torch.device("meta"):
        model = _model(config, files.key).eval()
        try:
            output = model.encode(torch.empty(1, 3, _SIDE, _SIDE))  # type: ignore[operator]
            has_posterior = hasattr(output, "latent_dist")
            latents = output.latent_dist.mean if has_posterior else Encoder(model)(torch.empty(1, 3, _SIDE, _SIDE))
            channels, height, width = latents.shape[1:]
        except Exception as error:  # a class for video or sound fails in any way
            raise InputError(
                f"{files.key}: {config.get('_class_name')} does not encode images [n, 3, height, width]: {error}"
            ) from error
    if height != width or height < 1 or _SIDE % height:
        raise InputError(
            f"{files.key}: {config.get('_class_name')} makes latents of {height}x{width} of {_SIDE} pixels"
        )
    return channels, _SIDE // height, has_posterior


def _load_whole(config: Mapping[str, Any], files: WeightFiles) -> nn.Module:
    with torch.device("meta"):  # the weights are put in place, so none are initialised
        model = _model(config, files.key)
    if any(name not in model.state_dict() for name, _ in model.named_buffers()):
        model = _model(config, files.key)  # values that are computed, not stored
    return load_weights(model, files.tensors(), f"{files.key}: {files.file}")


def _load_half(config: Mapping[str, Any], files: WeightFiles, half: str) -> nn.Module:
    """Load the model, and drop the half that is not used."""
    model = _load_whole(config, files)
    other = "decoder" if half == "encoder" else "encoder"
    if isinstance(getattr(model, other, None), nn.Module):
        setattr(model, other, None)
    return Encoder(model) if half == "encoder" else Decoder(model)
