"""denoising: the weighted squared error of the prediction."""

from __future__ import annotations

from dataclasses import dataclass

from dit_run.protocols import NoisyBatch, ObjectiveLoss, PredictFor

__all__ = ["Denoising", "build"]


@dataclass(frozen=True, kw_only=True)
class Denoising:
    """Mean squared error of the prediction, times the scheduler's weight of the timestep."""


def build(options: Denoising) -> DenoisingLoss:
    """Return the objective."""
    return DenoisingLoss()


class DenoisingLoss:
    """weight(t) · mean((prediction - target)²) of each sample."""

    def __call__(self, batch: NoisyBatch, predict: PredictFor) -> ObjectiveLoss:
        return ObjectiveLoss(batch.denoising_loss(predict().output))
