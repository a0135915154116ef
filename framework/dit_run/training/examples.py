"""Examples: a batch moved to the device, its pixels encoded, ready for the step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dit_run.protocols import VAE
from dit_run.training.batches import Batch
from dit_run.training.step import Examples

__all__ = ["Encoder"]


@dataclass(frozen=True)
class Encoder:
    """Moves batches to a device and encodes what is still pixels."""

    vae: VAE
    device: torch.device

    def __call__(self, batch: Batch) -> Examples:
        """Latents are drawn from the posterior: mean + standard deviation · draw."""
        mean, spread = self._latents(batch)
        draw = self._move(batch.draw)
        return Examples(
            latents=mean if spread is None else mean + spread * draw,
            noise=self._move(batch.noise),
            uniform=self._move(batch.uniform),
            text=type(batch.text)(*(self._move(part) for part in batch.text)),
            keys=batch.keys,
        )

    def _latents(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        images = self._move(batch.images)
        if images.dtype == torch.uint8:
            from dit_run.cache.encode import encode_latents

            return encode_latents(self.vae, images)
        return images.float(), None if batch.spread is None else self._move(batch.spread).float()

    def _move(self, values: Tensor) -> Tensor:
        return values.to(self.device, non_blocking=True)
