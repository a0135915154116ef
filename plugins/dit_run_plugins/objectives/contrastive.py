"""contrastive: the denoising loss, minus a share of the distance from the targets of other samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

from dit_run.options import bounds
from dit_run.problems import Problem
from dit_run.protocols import NoisyBatch, ObjectiveLoss, PredictFor, RuleContext

__all__ = ["Contrastive", "build", "has_other_samples"]


@dataclass(frozen=True, kw_only=True)
class Contrastive:
    """Contrastive flow matching (Stoica et al. 2025): near its own target, far from that of another sample."""

    strength: Annotated[float, bounds(gt=0, lt=1)] = 0.05
    """Factor λ on the distance from the target of another sample. Below 1 the loss has a least value."""


def build(options: Contrastive) -> ContrastiveLoss:
    """Return the objective."""
    return ContrastiveLoss(options.strength)


class ContrastiveLoss:
    """weight(t) · (mean((prediction - target)²) - λ mean((prediction - target of the next sample)²)) of each sample.

    The other sample is the next one of the micro-batch, and the first one for the last. The order of the data is
    random, so this is a random sample. Its target has its own latents and noise at the timestep of the first sample.
    The best prediction is (E[target] - λ E[target of others]) / (1 - λ).
    """

    parts = ("denoising", "distance")

    def __init__(self, strength: float) -> None:
        self._strength = strength

    def __call__(self, batch: NoisyBatch, predict: PredictFor) -> ObjectiveLoss:
        output = predict().output
        others = batch.scheduler.target(batch.latents.roll(1, 0), batch.noise.roll(1, 0), batch.timesteps)
        own, distance = batch.denoising_loss(output), replace(batch, target=others).denoising_loss(output)
        return ObjectiveLoss(own - self._strength * distance, {"denoising": own, "distance": distance})


def has_other_samples(context: RuleContext) -> Iterator[Problem]:
    """Check that a micro-batch has a second sample."""
    if context.config.training.batch_size == 1:
        yield Problem(
            "no-other-samples",
            "objective contrastive compares the samples of a micro-batch, and training.batch_size is 1",
            ("training", "batch_size"),
            related=((*context.path, "type"),),
            help=("set training.batch_size: 2 or more, or objective.type: denoising",),
        )
