"""The validation loss: fixed samples, noise and timesteps, so that two measurements can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from dit_run.compute.precision import Precision
from dit_run.compute.random_streams import Streams
from dit_run.model.denoiser import Denoiser
from dit_run.protocols import Scheduler
from dit_run.training.batches import Visits
from dit_run.training.encoding import BatchEncoder
from dit_run.training.step import EncodedBatch, denoising_loss

__all__ = ["Loss", "Probe"]


@dataclass(frozen=True)
class Loss:
    """A mean over samples and parts of the timestep distribution, with what it is made of."""

    mean: float
    standard_error: float
    """Of the mean, over samples."""
    parts: tuple[float, ...]
    """The mean of each part, from the least noise to the most."""

    @classmethod
    def of(cls, losses: Tensor) -> Loss:
        """From the losses of samples at one timestep of each part, float [samples, parts]."""
        values = losses.double()
        samples = values.mean(1)
        error = samples.std().item() / sqrt(len(samples)) if len(samples) > 1 else float("nan")
        return cls(values.mean().item(), error, tuple(values.mean(0).tolist()))


@dataclass(frozen=True)
class Probe:
    """Samples on which the loss is measured, each at one timestep of every part of the timestep distribution."""

    visits: Visits
    """Without caption dropout or flips."""
    count: int
    """How many samples: the first of the visits' order."""
    parts: int
    batch_size: int
    scheduler: Scheduler
    encoder: BatchEncoder
    precision: Precision

    @torch.no_grad()
    def measure(self, denoisers: Mapping[str, Denoiser]) -> dict[str, Loss]:
        """The loss of each denoiser on the same examples; their modes are restored."""
        modes = {name: denoiser.training for name, denoiser in denoisers.items()}
        rows: dict[str, list[Tensor]] = {name: [] for name in denoisers}
        for denoiser in denoisers.values():
            denoiser.eval()
        for drawn in self._examples():
            for name, denoiser in denoisers.items():
                losses = [denoising_loss(denoiser, self.scheduler, part, self.precision) for part in drawn]
                rows[name].append(torch.stack(losses, dim=1).cpu())
        for name, denoiser in denoisers.items():
            denoiser.train(modes[name])
        return {name: Loss.of(torch.cat(losses)) for name, losses in rows.items()}

    def _examples(self) -> Iterator[list[EncodedBatch]]:
        for start in range(0, self.count, self.batch_size):
            positions = range(start, min(start + self.batch_size, self.count))
            examples = self.encoder(self.visits.__getitems__(positions))
            yield [self._drawn(examples, positions, part) for part in range(self.parts)]

    def _drawn(self, examples: EncodedBatch, positions: Sequence[int], part: int) -> EncodedBatch:
        streams = Streams(self.visits.seed)
        places = [position * self.parts + part for position in positions]
        noise = torch.from_numpy(streams.normals("validation_noise", places, self.visits.latent_shape))
        uniform = torch.from_numpy((part + streams.uniforms("validation_timestep", places)) / np.float32(self.parts))
        device = examples.latents.device
        return EncodedBatch(examples.latents, noise.to(device), uniform.to(device), examples.text, examples.keys)
