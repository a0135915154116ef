"""The measurement of the mean and the deviation by which a run normalises its latents (``vae.normalize: data``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from dit_run.assembly.parts import Encoders
from dit_run.assembly.prepare import Data
from dit_run.settings import Config
from dit_run.training.batches import Visits
from dit_run.training.encoding import BatchEncoder
from dit_run.training.latent_statistics import LatentStatistics

__all__ = ["CHECKED_SAMPLES", "MEASURED_SAMPLES", "measure_latents"]

MEASURED_SAMPLES = 1024
"""Training samples over which a run measures its latents (number); the documentation of ``vae.normalize`` names it."""
CHECKED_SAMPLES = 64
"""Training samples over which a check measures them, which has no cache (number)."""
_AT_A_TIME = 16


def measure_latents(
    config: Config, data: Data, encoders: Encoders, device: torch.device, count: int = MEASURED_SAMPLES
) -> LatentStatistics:
    """Return the statistics of the latents of the first ``count`` training samples of the run's order.

    Images are neither mirrored nor cropped at random. The deviation is that of latents drawn from their posterior. The
    values depend on the data, the VAE and the seed alone. Raises InputError for an unreadable image.
    """
    samples = replace(data.train.without_augmentation(), batch_size=None)
    visits = Visits.of(config, samples, encoders, caption_dropout=0.0)
    encoder = BatchEncoder(encoders, device)

    def posteriors() -> Iterator[tuple[Tensor, Tensor | None]]:
        for positions in samples.once(min(count, len(samples)), _AT_A_TIME):
            yield encoder.posterior(visits.__getitems__(positions))

    return LatentStatistics.over(posteriors())
