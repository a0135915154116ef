"""The tiny autoencoder as a torch module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dit_run.digests import combined, file_digest
from dit_run.hub import Pretrained, local_path
from dit_run.problems import InputError
from dit_run_plugins.vaes.autoencoder_tiny import taesd_layout
from dit_run_plugins.vaes.lazy_autoencoder import Halves, filled

__all__ = ["TinyVae", "open_vae"]

_VERSION = 1
"""Raised by hand when the same files give other latents."""
_WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")


class TinyVae(Halves):
    """Implements :class:`dit_run.protocols.VAE`. The halves take and give images in [-1, 1], latents as they are:
    these were distilled from scaled ones."""

    cacheable = True

    def __init__(
        self,
        encoder: Callable[[], nn.Module],
        decoder: Callable[[], nn.Module],
        *,
        latent_channels: int,
        factor: int,
        identity: tuple[Any, ...],
        file: Path,
        scaling_factor: float = 1.0,
        use_slicing: bool = False,
    ) -> None:
        super().__init__(encoder, decoder, use_slicing=use_slicing)
        self.latent_channels = latent_channels
        self.factor = factor
        self._scaling_factor = scaling_factor
        self._identity = identity
        self._file = file

    def encode(self, images: Tensor) -> tuple[Tensor, None]:
        return self.run_encoder(images) * self._scaling_factor, None

    def decode(self, latents: Tensor) -> Tensor:
        return self.run_decoder(latents / self._scaling_factor)

    def fingerprint(self) -> str:
        return combined([*self._identity, file_digest(self._file)])


def open_vae(weights: Pretrained, *, use_slicing: bool) -> TinyVae:
    """The VAE of a folder or a hub's repository, in either layout. Raises InputError when it cannot be had."""
    folder = local_path(weights.name)
    if folder is not None and folder.is_dir():
        pair = [_half(folder, half) for half in ("encoder", "decoder")]
        if pair[0] is not None and pair[1] is not None:
            return _original(weights, pair[0], pair[1], use_slicing=use_slicing)
    config = weights.object("config.json")
    if config.get("_class_name") != "AutoencoderTiny":
        raise weights.error(f"describes {config.get('_class_name', 'another kind of model')}, not AutoencoderTiny")
    return _diffusers(weights, config, weights.need(*_WEIGHTS), use_slicing=use_slicing)


def _half(folder: Path, half: str) -> Path | None:
    found = [path for suffix in ("safetensors", "pth") for path in sorted(folder.glob(f"*{half}.{suffix}"))]
    return found[0] if found else None


class _UnitRange(nn.Module):
    """A half of the original layout between images in [-1, 1] and its own in [0, 1]."""

    def __init__(self, network: nn.Module, *, encodes: bool) -> None:
        super().__init__()
        self.network = network
        self._encodes = encodes

    def forward(self, value: Tensor) -> Tensor:
        if self._encodes:
            latents: Tensor = self.network((value + 1) / 2)
            return latents
        images: Tensor = self.network(value)
        return images * 2 - 1


def _original(weights: Pretrained, encoder: Path, decoder: Path, *, use_slicing: bool) -> TinyVae:
    return TinyVae(
        partial(_original_half, weights, encoder, taesd_layout.encoder),
        partial(_original_half, weights, decoder, taesd_layout.decoder),
        latent_channels=_channels(weights, encoder),
        factor=8,
        identity=("taesd", _VERSION),
        file=encoder,
        use_slicing=use_slicing,
    )


def _original_half(weights: Pretrained, path: Path, make: Callable[[Mapping[str, Tensor]], nn.Module]) -> nn.Module:
    tensors = weights.tensors(path)
    try:
        with torch.device("meta"):
            network = make(tensors)
    except (KeyError, IndexError) as error:
        raise InputError(f"{weights.key}: {path}: no weights of a TAESD {make.__name__}: {error} is missing") from error
    return _UnitRange(filled(network, tensors, f"{weights.key}: {path}"), encodes=make is taesd_layout.encoder)


def _channels(weights: Pretrained, encoder: Path) -> int:
    """The number of latent channels, from the encoder's last layer."""
    last = weights.tensors(encoder, lambda name: name == "14.weight").get("14.weight")
    if last is None:
        raise InputError(f"{weights.key}: {encoder}: no weights of a TAESD encoder: 14.weight is missing")
    return int(last.shape[0])


def _diffusers(weights: Pretrained, config: Mapping[str, Any], file: Path, *, use_slicing: bool) -> TinyVae:
    return TinyVae(
        partial(_diffusers_half, weights, config, file, "encoder"),
        partial(_diffusers_half, weights, config, file, "decoder"),
        latent_channels=int(config.get("latent_channels", 4)),
        factor=2 ** (len(config.get("encoder_block_out_channels", (64,) * 4)) - 1),
        identity=("autoencoder_tiny", _VERSION, dict(config)),
        file=file,
        scaling_factor=float(config.get("scaling_factor", 1.0)),
        use_slicing=use_slicing,
    )


def _diffusers_half(weights: Pretrained, config: Mapping[str, Any], file: Path, name: str) -> nn.Module:
    from diffusers import AutoencoderTiny

    with torch.device("meta"):
        network: nn.Module = getattr(AutoencoderTiny.from_config(dict(config)), name)
    tensors = weights.tensors(file, lambda each: each.startswith(f"{name}."))
    own = {each.removeprefix(f"{name}."): value for each, value in tensors.items()}
    return filled(network, own, f"{weights.key}: {file}")
