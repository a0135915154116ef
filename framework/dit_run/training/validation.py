"""The validation loss: fixed samples, noise and timesteps, so that two measurements can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dit_run.compute.devices import move
from dit_run.compute.precision import Precision
from dit_run.compute.random_streams import Streams
from dit_run.data.samples import Samples
from dit_run.model.denoiser import Denoiser
from dit_run.model.evaluation_mode import evaluating
from dit_run.protocols import SchedulerOf
from dit_run.training.batches import Visits
from dit_run.training.encoding import BatchEncoder
from dit_run.training.run_parts import RunParts
from dit_run.training.step import EncodedBatch
from dit_run.training.step_loss import denoising_loss

__all__ = ["BatchLosses", "ValidationLoss", "ValidationSet"]


@dataclass(frozen=True)
class ValidationLoss:
    """A mean over samples and bins of the timestep distribution."""

    mean: float
    standard_error: float
    """Standard error of the mean over samples. It is that of this choice of samples, whose noise and timesteps are
    fixed: two validations of a run differ by less, because both use the same ones."""
    bins: tuple[float, ...]
    """The mean of each bin, from the least noise to the most."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """The mean of each part of a mixture that has samples here."""

    @classmethod
    def of(cls, losses: Tensor, names: Sequence[str] = (), parts: Tensor | None = None) -> ValidationLoss:
        """Return the means of losses of samples at one timestep of each bin, float [samples, bins].

        ``parts``, bool [p, samples], tells the samples of the parts of a mixture with these names.
        """
        values = losses.double()
        samples = values.mean(1)
        error = samples.std().item() / sqrt(len(samples)) if len(samples) > 1 else float("nan")
        of_parts = {} if parts is None else {name: samples[own] for name, own in zip(names, parts, strict=True)}
        means = {name: own.mean().item() for name, own in of_parts.items() if len(own)}
        return cls(values.mean().item(), error, tuple(values.mean(0).tolist()), means)


class BatchLosses(NamedTuple):
    """The losses of a batch of n samples, on the CPU."""

    losses: Mapping[str, Tensor]
    """float [n, bins] of each denoiser."""
    parts: Tensor | None
    """bool [p, n]: the samples of each part of a mixture; None without a mixture."""


@dataclass(frozen=True)
class ValidationSet:
    """Samples on which the loss is measured, each at one timestep of every bin of the timestep distribution."""

    visits: Visits
    """Without caption dropout or flips."""
    count: int
    """Number of samples: the first of the visits' order."""
    bins: int
    batch_size: int
    scheduler_of: SchedulerOf
    encoder: BatchEncoder
    precision: Precision

    @classmethod
    def of(cls, parts: RunParts, samples: Samples) -> ValidationSet:
        """Return the set that the config takes from these samples."""
        options = parts.config.validation
        fixed = replace(samples, augmented=False, batch_size=None)
        return cls(
            visits=parts.visits(fixed, caption_dropout=0.0, features=False),
            count=min(len(samples), options.num_samples),
            bins=options.timestep_bins,
            batch_size=parts.config.training.batch_size,
            scheduler_of=parts.scheduler_of,
            encoder=parts.encoder(),
            precision=parts.precision,
        )

    def measure(self, denoisers: Mapping[str, Denoiser]) -> dict[str, ValidationLoss]:
        """Return the loss of each denoiser on the same samples; their training modes are always restored."""
        return self.mean(list(self.losses(denoisers, self.batches)))

    @cached_property
    def batches(self) -> list[list[int]]:
        """The positions of each batch of samples, which share a size."""
        return list(self.visits.samples.once(self.count, self.batch_size))

    @torch.no_grad()
    def losses(self, denoisers: Mapping[str, Denoiser], batches: Iterable[Sequence[int]]) -> Iterator[BatchLosses]:
        """Yield the losses of some batches, each a function of its positions; training modes are always restored."""
        with evaluating(denoisers.values()):
            for positions in batches:
                binned = self._binned(positions)
                losses = {
                    name: torch.stack([self._losses(denoiser, batch) for batch in binned], dim=1).cpu()
                    for name, denoiser in denoisers.items()
                }
                yield BatchLosses(losses, None if binned[0].parts is None else binned[0].parts.cpu())

    def mean(self, batches: Sequence[BatchLosses]) -> dict[str, ValidationLoss]:
        """Return the loss of each denoiser from its losses of all batches, in their order."""
        parts = [batch.parts for batch in batches if batch.parts is not None]
        names, of_parts = self.visits.samples.parts.names, torch.cat(parts, dim=1) if parts else None
        return {
            name: ValidationLoss.of(torch.cat([batch.losses[name] for batch in batches]), names, of_parts)
            for name in batches[0].losses
        }

    def _losses(self, denoiser: Denoiser, batch: EncodedBatch) -> Tensor:
        return denoising_loss(denoiser, self.scheduler_of(batch.shape), batch, self.precision)

    def _binned(self, positions: Sequence[int]) -> list[EncodedBatch]:
        """Return a batch of samples at the timesteps of every bin."""
        batch = self.encoder(self.visits.__getitems__(positions))
        return [self._in_bin(batch, positions, index) for index in range(self.bins)]

    def _in_bin(self, batch: EncodedBatch, positions: Sequence[int], index: int) -> EncodedBatch:
        streams, device = Streams(self.visits.seed), batch.latents.device
        places = [position * self.bins + index for position in positions]
        noise = torch.from_numpy(streams.normals("validation_noise", places, batch.shape))
        uniform = torch.from_numpy((index + streams.uniforms("validation_timestep", places)) / np.float32(self.bins))
        return replace(batch, noise=move(noise, device), uniform=move(uniform, device))
