"""The encoder of batches: it moves a batch to the device and encodes its pixels and captions for the step."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from dit_run.assembly.parts import Encoders
from dit_run.compute.devices import move
from dit_run.model.codec import encode_latents
from dit_run.model.conditioning import SeveralCaptions, Text, with_tensors
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

    def __call__(self, batch: Batch) -> EncodedBatch:
        """Return the batch with latents from the posterior: mean + standard deviation · draw."""
        with self.timer.phase("encode"):
            mean, deviation = self._latents(batch)
            draw = self._move(batch.draw)
            return EncodedBatch(
                latents=mean if deviation is None else mean + deviation * draw,
                noise=self._move(batch.noise),
                uniform=self._move(batch.uniform),
                text=self._text(batch),
                keys=batch.keys,
                parts=None if batch.parts is None else self._move(batch.parts),
                scalars=None if batch.scalars is None else self._move(batch.scalars),
            )

    def _text(self, batch: Batch) -> Text:
        conditions = self.encoders.conditions
        if isinstance(conditions, SeveralCaptions):
            text: Text = conditions(batch.captions, batch.null, batch.dropped)
        else:
            text = conditions(batch.captions, batch.null)
        return with_tensors(text, self._move)

    def _latents(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        images = self._move(batch.images)
        if images.dtype == torch.uint8:
            return encode_latents(self.encoders.vae, images, self.encoders.dtype)
        mean, *deviation = images.float().unbind(1)
        return mean, deviation[0] if deviation else None

    def _move(self, values: Tensor) -> Tensor:
        return move(values, self.device)
