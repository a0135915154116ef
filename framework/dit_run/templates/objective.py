"""An objective: the denoising loss, and a penalty on errors of the mean colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dit_run import Component, Kind, hookimpl
from dit_run.options import NonNegativeFloat
from dit_run.protocols import NoisyBatch, ObjectiveLoss, PredictFor

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Example:
    """The denoising loss, and a penalty on errors of the mean of each channel."""

    penalty: NonNegativeFloat = 0.1
    """Factor on the squared error of the means."""


class ExampleObjective:
    parts = ("means",)  # names of further values for the log

    def __init__(self, penalty: float) -> None:
        self.penalty = penalty

    def __call__(self, batch: NoisyBatch, predict: PredictFor) -> ObjectiveLoss:
        # batch has latents, noise, noisy and target, each [n, c, h, w], and timesteps [n]
        output = predict().output
        error: Tensor = (output - batch.target).mean((2, 3)).square().mean(1)
        return ObjectiveLoss(batch.denoising_loss(output) + self.penalty * error, {"means": error})


def build(options: Example) -> ExampleObjective:
    """Return the objective. Available keywords: device, taps, token_size."""
    return ExampleObjective(options.penalty)


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.OBJECTIVE, "example", Example, build)]
