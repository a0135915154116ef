"""Rectified flow: the objective and the samplers on the straight path between latents and noise."""

from __future__ import annotations

from math import sqrt
from typing import Any, Literal

import torch
from torch import Tensor

from dit_run.problems import InputError, NotInDiffusers
from dit_run.protocols import Predict, StepNoise
from dit_run_plugins.schedulers.flow_matching import FlowMatching
from dit_run_plugins.schedulers.samplers import SamplingPath, run_sampler, spacing

__all__ = ["FlowProcess", "build", "resolution_shift"]

SCALE = 1000.0
"""Timestep at t = 1."""
LEAST_T = 0.05
"""Smallest t in the weight of a clean prediction, which would grow without bound as 1 / t² (Li and He 2025)."""


def build(options: FlowMatching, *, latent_shape: tuple[int, int, int]) -> FlowProcess:
    """Return the objective and samplers of these options for latents (c, h, w)."""
    shift = options.shift if options.shift is not None else resolution_shift(latent_shape, options.shift_by)
    return FlowProcess(options, shift=shift)


def resolution_shift(latent_shape: tuple[int, int, int], by: Literal["pixels", "values"]) -> float:
    """Return sqrt(m / n) for latents of size m and a base of size n, that of 4 × 32 × 32; at least 1.

    Larger latents tell more about the image at the same t, so more noise is needed for the same uncertainty. Their
    size is the number of pixels (Esser et al. 2024, equation 23) or of all values (Zheng et al. 2025, "Diffusion
    Transformers with Representation Autoencoders"). With 4 channels both are the same.
    """
    channels, height, width = latent_shape
    size = height * width if by == "pixels" else channels * height * width / 4
    return max(1.0, sqrt(size / (32 * 32)))


class FlowProcess:
    """x_t = (1 - t) x_0 + t noise, velocity v = noise - x_0 (Liu et al. 2023), t = timestep / 1000."""

    samplers = FlowMatching.samplers

    def __init__(self, options: FlowMatching, *, shift: float) -> None:
        self.prediction_type = options.prediction_type
        self._options, self._shift = options, shift

    def timesteps(self, uniform: Tensor) -> Tensor:
        """Return timesteps [n] for random numbers in [0, 1): uniform or quantiles of the logit-normal, then shifted."""
        t = uniform
        if self._options.timestep_sampling == "logit_normal":
            t = torch.sigmoid(self._options.logit_mean + self._options.logit_std * torch.special.ndtri(uniform))
        return SCALE * (self._shift * t / (1 + (self._shift - 1) * t))

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return x_t [n, c, h, w]."""
        return torch.lerp(latents, noise, _t(timesteps, latents))

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return noise - latents, or the latents."""
        return latents if self.prediction_type == "sample" else noise - latents

    def weight(self, timesteps: Tensor) -> Tensor:
        """Return 1 for the velocity; 1 / max(t, 0.05)² for clean latents, whose error then equals the velocity's."""
        if self.prediction_type == "velocity":
            return torch.ones_like(timesteps)
        return (timesteps / SCALE).clamp(min=LEAST_T) ** -2

    def to_x0(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """Return x_t - t v, or the output itself."""
        return output if self.prediction_type == "sample" else noisy - _t(timesteps, noisy) * output

    def sample(self, predict: Predict, noise: Tensor, *, sampler: str, steps: int, step_noise: StepNoise) -> Tensor:
        """Return latents sampled from ``noise`` in ``steps`` steps. Raises InputError for an unknown sampler."""
        if sampler not in self.samplers:
            raise InputError(
                f"scheduler flow_matching has no sampler {sampler!r}: choose one of {', '.join(self.samplers)}"
            )
        t = [self._shift * u / (1 + (self._shift - 1) * u) for u in spacing(sampler, steps)]
        path = SamplingPath([SCALE * value for value in t[:-1]], [1 - value for value in t], t)
        return run_sampler(sampler, predict, self._invert, noise, path, step_noise)

    def to_diffusers(self, sampler: str) -> Any:
        """Return a FlowMatchEulerDiscreteScheduler. Raises NotInDiffusers for another sampler or prediction type."""
        if sampler != "euler":
            raise NotInDiffusers(f"no scheduler of diffusers has the steps of sampler {sampler}, only those of euler")
        if self.prediction_type != "velocity":
            raise NotInDiffusers(
                f"scheduler.prediction_type is {self.prediction_type}, and the pipelines of diffusers take a velocity"
            )
        from diffusers import FlowMatchEulerDiscreteScheduler

        return FlowMatchEulerDiscreteScheduler(shift=self._shift)

    def _invert(self, output: Tensor, noisy: Tensor, alpha: float, sigma: float) -> Tensor:
        return output if self.prediction_type == "sample" else noisy - sigma * output


def _t(timesteps: Tensor, like: Tensor) -> Tensor:
    """Return t [n, 1, 1, 1] in the dtype of ``like``."""
    return (timesteps / SCALE).to(like.dtype).view(-1, *(1,) * (like.ndim - 1))
