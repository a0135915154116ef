"""The KL autoencoder as a torch module; its halves are diffusers' Encoder and Decoder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dit_run.digests import combined, file_digest
from dit_run.hub import Pretrained, local_path
from dit_run_plugins.vaes.autoencoder_kl import CONFIG_FILES, STABLE_DIFFUSION, AutoencoderKl
from dit_run_plugins.vaes.autoencoder_kl.original_layout import current_name, current_tensors
from dit_run_plugins.vaes.lazy_autoencoder import Halves, filled

__all__ = ["KlVae", "build"]

_VERSION = 1
"""Raised by hand when the same files give other latents."""
_WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
)
_SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
_ORIGINAL = {
    f"stabilityai/sd-vae-ft-{name}-original": tuple(
        f"vae-ft-{file}-ema-pruned.{kind}" for kind in ("safetensors", "ckpt")
    )
    for name, file in (("mse", "mse-840000"), ("ema", "ema-560000"))
}
"""Repositories that have a single file in the original layout and no config."""


class KlVae(Halves):
    """Implements :class:`dit_run.protocols.VAE`. Latents are (z - shift) · scale of the posterior's z."""

    cacheable = True

    def __init__(self, weights: Pretrained, config: Mapping[str, Any], file: Path, *, use_slicing: bool) -> None:
        encoder, decoder = partial(_encoder, weights, config, file), partial(_decoder, weights, config, file)
        super().__init__(encoder, decoder, use_slicing=use_slicing)
        self.latent_channels = int(config.get("latent_channels", 4))
        self.factor = 2 ** (_levels(config) - 1)
        shift, scale = _normalisation(config)
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", shift, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self._config = dict(config)
        self._file = file

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.run_encoder(images).chunk(2, dim=1)
        std = torch.exp(0.5 * log_variance.clamp(-30, 20))
        return (mean - self.shift) * self.scale, std * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        return self.run_decoder(latents / self.scale + self.shift)

    def fingerprint(self) -> str:
        return combined(["autoencoder_kl", _VERSION, file_digest(self._file), self._config])


def build(options: AutoencoderKl) -> KlVae:
    """The VAE of a folder, a hub's repository or a single file; each half's weights are read at its first use.

    Raises InputError when files are missing or belong to no such VAE.
    """
    weights = Pretrained(options.pretrained_model_name, "vae.pretrained_model_name", options.revision)
    single = _single_file(weights)
    if single is not None:
        return KlVae(weights, STABLE_DIFFUSION, single, use_slicing=options.use_slicing)
    config = weights.object(*CONFIG_FILES)
    if config.get("_class_name") != "AutoencoderKL":
        raise weights.error(f"describes {config.get('_class_name', 'another kind of model')}, not AutoencoderKL")
    file = weights.need(*(f"vae/{name}" for name in _WEIGHTS), *_WEIGHTS)
    return KlVae(weights, config, file, use_slicing=options.use_slicing)


def _single_file(weights: Pretrained) -> Path | None:
    """The file in the original layout, if that is what the name stands for: itself, alone in a folder, or known."""
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


class _Encoder(nn.Module):
    def __init__(self, encoder: nn.Module, quant_conv: nn.Module | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.quant_conv = quant_conv

    def forward(self, images: Tensor) -> Tensor:
        moments: Tensor = self.encoder(images)
        return moments if self.quant_conv is None else self.quant_conv(moments)


class _Decoder(nn.Module):
    def __init__(self, decoder: nn.Module, post_quant_conv: nn.Module | None) -> None:
        super().__init__()
        self.decoder = decoder
        self.post_quant_conv = post_quant_conv

    def forward(self, latents: Tensor) -> Tensor:
        if self.post_quant_conv is not None:
            latents = self.post_quant_conv(latents)
        images: Tensor = self.decoder(latents)
        return images


def _encoder(weights: Pretrained, config: Mapping[str, Any], file: Path) -> nn.Module:
    whole = _whole(config)
    return _load(_Encoder(whole.encoder, whole.quant_conv), weights, config, file)


def _decoder(weights: Pretrained, config: Mapping[str, Any], file: Path) -> nn.Module:
    whole = _whole(config)
    return _load(_Decoder(whole.decoder, whole.post_quant_conv), weights, config, file)


def _whole(config: Mapping[str, Any]) -> Any:
    """The network without memory for its weights: they are put in place of it."""
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        return AutoencoderKL.from_config(dict(config))


def _load(half: nn.Module, weights: Pretrained, config: Mapping[str, Any], file: Path) -> nn.Module:
    levels = _levels(config)
    assumed = " (without a config.json; Stable Diffusion's is assumed)" if config is STABLE_DIFFUSION else ""
    wanted = {name.split(".")[0] for name in half.state_dict()}
    tensors = weights.tensors(file, lambda name: current_name(name, levels).split(".")[0] in wanted)
    return filled(half, current_tensors(tensors, levels), f"{weights.key}: {file}{assumed}")


def _levels(config: Mapping[str, Any]) -> int:
    return len(config.get("block_out_channels", (64,)))


def _normalisation(config: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Shift and scale, float32 [1, c or 1, 1, 1], from ``shift_factor`` and ``scaling_factor``, or from
    ``latents_mean`` and ``latents_std`` where each channel has its own."""
    scale = torch.tensor(float(config.get("scaling_factor", 0.18215)))
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is None or std is None:
        shift = torch.tensor(float(config.get("shift_factor") or 0.0))
        return shift.view(1, 1, 1, 1), scale.view(1, 1, 1, 1)
    return torch.tensor(mean).view(1, -1, 1, 1), (scale / torch.tensor(std)).view(1, -1, 1, 1)
