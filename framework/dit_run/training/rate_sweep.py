"""A sweep of short steps with a rising learning rate, which shows the rates at which a config learns.

The range test of Smith 2017, with the loss of samples that stay the same. Its usual answer, the rate of the fastest
fall, is far too small for optimizers whose updates have the size of the learning rate whatever the gradient (Adam,
Muon): there the loss falls with the sum of all rates so far. The rate up to which a model keeps what it learnt is a
better guide.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import torch

from dit_run.reporting import Reporter
from dit_run.settings import Config
from dit_run.training.run_parts import RunParts
from dit_run.training.setup import process_setup
from dit_run.training.step import EncodedBatch
from dit_run.training.step_loss import denoising_loss
from dit_run.training.trial_parts import build_trial_parts

__all__ = ["RateSweep", "sweep_rates"]

STEPS = 100
"""Steps of a sweep (number)."""
LEAST, MOST = 1e-6, 10.0
"""Learning rates of the first and of the last step."""
PROBED = 64
"""Samples on which the loss is measured after each step (number), at most."""
WINDOW = 7
"""Steps over which the loss is averaged (number), odd."""
DIVERGED = 4.0
"""Multiple of the smallest loss that ends a sweep."""
LEARNT = 0.99
"""Largest multiple of the first loss to which a rate that learns lowers it."""
MARGIN = 3.0
"""Divisor of the largest rate that keeps the fall of the loss."""


@dataclass(frozen=True)
class RateSweep:
    """The loss of the same samples after each step of a sweep."""

    first: float
    """Loss before the first step."""
    rates: tuple[float, ...]
    """Learning rate of each step, rising by one factor."""
    losses: tuple[float, ...]
    """Loss after each step, finite."""

    @property
    def averaged(self) -> tuple[float, ...]:
        """The losses, each averaged over the steps around it; over fewer at both ends."""
        count = len(self.losses)
        reach = (min(WINDOW // 2, index, count - 1 - index) for index in range(count))
        return tuple(sum(self.losses[index - far : index + far + 1]) / (2 * far + 1) for index, far in enumerate(reach))

    @property
    def lowest(self) -> float | None:
        """The rate after whose step the loss was lowest; None where no rate lowered it."""
        least = self._least
        return None if least is None else self.rates[least]

    @property
    def edge(self) -> float | None:
        """The largest rate up to which the loss kept half of its fall; None where no rate lowered it."""
        least = self._least
        if least is None:
            return None
        averaged = self.averaged
        half = (self.first + averaged[least]) / 2
        lost = (index for index in range(least, len(averaged)) if averaged[index] > half)
        return self.rates[next(lost, len(averaged)) - 1]

    @property
    def suggestion(self) -> float | None:
        """A third of the largest rate that kept the fall: a peak with room for what a long run adds."""
        return None if self.edge is None else self.edge / MARGIN

    @property
    def _least(self) -> int | None:
        """Index of the lowest averaged loss; None where no rate lowered the loss."""
        averaged = self.averaged
        least = min(averaged, default=self.first)
        return averaged.index(least) if least < LEARNT * self.first else None


def sweep_rates(config: Config, *, device: torch.device, reporter: Reporter) -> RateSweep:
    """Train up to 100 steps of one micro-batch, each with a larger learning rate, until the loss grows.

    The parts are those of a run at its first step, and nothing is written. The model, its optimizer and the factors on
    the learning rate of parameters are the config's own; a schedule has no part in it. Raises InputError for a config
    that a run refuses.
    """
    with process_setup(config.training, device):
        parts, _ = build_trial_parts(config, device)
        return _sweep(parts, reporter)


def _sweep(parts: RunParts, reporter: Reporter) -> RateSweep:
    peak, size = parts.config.training.learning_rate, parts.config.training.batch_size
    samples = parts.data.train.of_largest_size()
    probed, visits = min(PROBED, len(samples)), parts.visits(samples)
    encode = parts.encoder()
    probe = encode(parts.visits(samples, caption_dropout=0.0).__getitems__(range(probed)))
    rates = [LEAST * (MOST / LEAST) ** (index / (STEPS - 1)) for index in range(STEPS)]
    step = parts.training_step(learning_rate_factor=lambda index: rates[index] / peak)
    first = best = _loss(parts, probe)
    losses: list[float] = []
    for index in range(STEPS):
        reporter.phase("trying learning rates", index, STEPS)
        batch = encode(visits.__getitems__(range(index * size, (index + 1) * size)))
        parts.denoiser.train()
        step.run(index, [batch], count=1)
        loss = _loss(parts, probe)
        if not isfinite(loss) or loss > DIVERGED * best:
            break
        losses.append(loss)
        best = min(best, loss)
    reporter.phase("trying learning rates", STEPS, STEPS)
    return RateSweep(first, tuple(rates[: len(losses)]), tuple(losses))


@torch.no_grad()
def _loss(parts: RunParts, batch: EncodedBatch) -> float:
    parts.denoiser.eval()
    return denoising_loss(parts.denoiser, parts.scheduler_of(batch.shape), batch, parts.precision).mean().item()
