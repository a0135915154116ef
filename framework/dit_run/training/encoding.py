"""The encoder of batches: it moves a batch to the device and encodes its pixels and captions for the step."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from dit_run.assembly.parts import Encoders
from dit_run.compute.devices import move
from dit_run.model.codec import encode_latents
from dit_run.model.conditioning import Conditions, SeveralCaptions, Text, moved
from dit_run.model.latent_normalization import LatentNormalization
from dit_run.training.batches import Batch
from dit_run.training.step import EncodedBatch
from dit_run.training.step_timer import StepTimer

__all__ = ["BatchEncoder"]


@dataclass(frozen=True)
class BatchEncoder:
    """Moves batches to a device, and encodes pixels that are not encoded yet."""

    encoders: Encoders
    device: torch.device
    timer: StepTimer = field(default_factory=StepTimer)
    normalization: LatentNormalization | None = None
    """Normalisation of the latents that the model takes; None takes them as they are."""
    conditions: Conditions | None = None
    """The step from captions to conditions; None takes that of the encoders."""

    def __call__(self, batch: Batch) -> EncodedBatch:
        """Return the batch with latents from the posterior: mean + standard deviation · draw."""
        with self.timer.phase("encode"):
            return EncodedBatch(
                latents=self._latents(batch),
                noise=self._move(batch.noise),
                uniform=self._move(batch.uniform),
                text=self._text(batch),
                keys=batch.keys,
                parts=None if batch.parts is None else self._move(batch.parts),
                scalars=None if batch.scalars is None else self._move(batch.scalars),
                features={name: self._features(name, batch) for name in batch.features},
            )

    def _features(self, name: str, batch: Batch) -> Tensor:
        cached = batch.features[name]
        if cached is not None:
            return self._move(cached).float()[:, 0]
        return encode_latents(self.encoders.features[name], self._move(batch.images), self.encoders.dtype)[0]

    def _text(self, batch: Batch) -> Text:
        conditions = self.conditions or self.encoders.conditions
        if isinstance(conditions, SeveralCaptions):
            text: Text = conditions(batch.captions, batch.null, batch.dropped)
        else:
            text = conditions(batch.captions, batch.null)
        return moved(text, self.device)

    def _latents(self, batch: Batch) -> Tensor:
        mean, deviation = self.posterior(batch)
        if deviation is None:
            return mean
        assert batch.draw is not None
        return mean + deviation * self._move(batch.draw)

    def posterior(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return mean and standard deviation, or None without a posterior, of the batch's latents [n, c, h, w]."""
        mean, deviation = self._posterior(self._move(batch.images))
        return (mean, deviation) if self.normalization is None else self.normalization(mean, deviation)

    def _posterior(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        if images.dtype == torch.uint8:
            return encode_latents(self.encoders.vae, images, self.encoders.dtype)
        mean, *deviation = images.float().unbind(1)
        return mean, deviation[0] if deviation else None

    def _move(self, values: Tensor) -> Tensor:
        return move(values, self.device)
