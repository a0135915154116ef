"""The common part of the autoencoders: encoder and decoder that load when used, scaled latents, checked weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dit_run.digests import combined
from dit_run.hub import WeightFiles
from dit_run.problems import InputError
from dit_run_plugins.frozen_networks import LazyNetwork

__all__ = ["LazyAutoencoder", "load_weights", "tiled"]


class LazyAutoencoder(nn.Module):
    """An encoder and a decoder, each loaded when it is first used. Latents are (z - shift) · scale of the encoder's z.

    A subclass adds ``encode`` to be a :class:`dit_run.protocols.VAE`.
    """

    cacheable = True

    def __init__(
        self,
        load: Callable[[str], nn.Module],
        identity: Sequence[Any],
        files: WeightFiles,
        config: Mapping[str, Any] | None = None,
        *,
        latent_channels: int,
        factor: int,
        shift: Tensor = torch.zeros(1, 1, 1, 1),  # noqa: B008 (never changed)
        scale: Tensor = torch.ones(1, 1, 1, 1),  # noqa: B008
        use_slicing: bool,
    ) -> None:
        """Load by ``load("encoder")`` and ``load("decoder")``; the fingerprint covers identity, files and config.

        Decoders whose config says ``force_upcast``, as SDXL's, overflow float16.
        """
        super().__init__()
        self.encoder = LazyNetwork(partial(load, "encoder"))
        self.decoder = LazyNetwork(partial(load, "decoder"), upcast=bool((config or {}).get("force_upcast")))
        self.latent_channels, self.factor = latent_channels, factor
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", shift, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self._identity, self._files, self._config = identity, files, config
        self._use_slicing = use_slicing

    def decode(self, latents: Tensor) -> Tensor:
        """Return images float32 [n, 3, H, W], clamped to [-1, 1]."""
        with torch.no_grad():
            unscaled = latents / tiled(self.scale, latents) + tiled(self.shift, latents)
            return self._sliced(self.decoder, unscaled).clamp(-1, 1)

    def scaled(self, latents: Tensor) -> Tensor:
        """Return the latents of the encoder, shifted and scaled."""
        return (latents - tiled(self.shift, latents)) * tiled(self.scale, latents)

    def fingerprint(self) -> str:
        config = [] if self._config is None else [dict(self._config)]
        return combined([*self._identity, self._files.digest(), *config])

    def release(self) -> None:
        """Free the memory of the weights; they are loaded again at the next use."""
        self.encoder.release()
        self.decoder.release()

    @torch.no_grad()
    def run_encoder(self, images: Tensor) -> Tensor:
        """Return the encoder's float32 output for images [n, 3, H, W] in [-1, 1]."""
        return self._sliced(self.encoder, images)

    def _sliced(self, network: LazyNetwork, batch: Tensor) -> Tensor:
        parts: Iterable[Tensor] = torch.split(batch, 1) if self._use_slicing else (batch,)
        return torch.cat([network(part).float() for part in parts]).contiguous()


def tiled(values: Tensor, latents: Tensor) -> Tensor:
    """Return values [1, c or 1, p, q] for latents [n, c, h, w]: as they are, or repeated over patches of p x q."""
    (rows, columns), (height, width) = values.shape[2:], latents.shape[2:]
    if values.shape[2:] == (1, 1):
        return values
    return values.repeat(1, 1, -(-height // rows), -(-width // columns))[..., :height, :width]


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> nn.Module:
    """Return the module with these weights as float32 in channels-last layout, which is fast for convolutions.

    Raises InputError naming the first weights that are missing, unexpected or of another shape.
    """
    own = module.state_dict()
    faults = [f"{name} is missing" for name in own if name not in tensors]
    faults += [f"{name} is unexpected" for name in tensors if name not in own]
    faults += [
        f"{name} is {list(tensors[name].shape)}, expected {list(value.shape)}"
        for name, value in own.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise InputError(f"{where}: the weights do not fit this type of VAE: {'; '.join(faults[:3])}{more}")
    module.load_state_dict({name: value.float() for name, value in tensors.items()}, assign=True)
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
