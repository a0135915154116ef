"""A scheduler: a straight line from noise to the image (rectified flow, Liu et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from dit_run import Component, Kind, hookimpl
from dit_run.options import PositiveFloat
from dit_run.protocols import Predict, StepNoise

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Example:
    """Rectified flow with Euler's method."""

    shift: PositiveFloat = 1.0
    """Values above 1 move timesteps towards the noise."""


class ExampleScheduler:
    """The noise process x_t = (1 - s) x_0 + s noise with s = t / 1000; the model learns the velocity, noise - x_0.

    Latents, noise, targets and outputs have the shape [n, channels, rows, columns]; timesteps have the shape [n].
    """

    prediction_type = "velocity"
    samplers: tuple[str, ...] = ("euler",)

    def __init__(self, shift: float) -> None:
        self.shift = shift

    def timesteps(self, uniform: Tensor) -> Tensor:
        # uniform random numbers [n] in [0, 1) to timesteps [n] in [0, 1000]
        return 1000 * self.shift * uniform / (1 + (self.shift - 1) * uniform)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        s = _noise_fraction(timesteps, latents)
        return (1 - s) * latents + s * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return noise - latents

    def weight(self, timesteps: Tensor) -> Tensor:
        # loss weights [n], at least 0
        return timesteps.new_ones(timesteps.shape)

    def to_x0(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        return noisy - _noise_fraction(timesteps, noisy) * output

    def sample(self, predict: Predict, noise: Tensor, *, sampler: str, steps: int, step_noise: StepNoise) -> Tensor:
        # predict(latents [n, c, h, w], timesteps [n]) is the model's output with guidance applied
        times = self.timesteps((steps - noise.new_tensor(range(steps + 1))) / steps)
        latents = noise
        for now, following in pairwise(times):
            latents = latents + (following - now) / 1000 * predict(latents, now.expand(len(latents)))
        return latents


def _noise_fraction(timesteps: Tensor, like: Tensor) -> Tensor:
    """Return the fraction of noise in x_t, [n, 1, 1, 1], from 0 to 1."""
    return (timesteps / 1000).to(like)[:, None, None, None]


def build(options: Example) -> ExampleScheduler:
    """Return the scheduler. Available keyword: latent_shape."""
    return ExampleScheduler(options.shift)


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.SCHEDULER, "example", Example, build)]
