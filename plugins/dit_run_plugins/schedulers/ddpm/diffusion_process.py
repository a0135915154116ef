"""The variance-preserving process over discrete timesteps: x_t = alpha_t x_0 + sigma_t noise, alpha² + sigma² = 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dit_run.problems import InputError, NotInDiffusers
from dit_run.protocols import Predict, StepNoise
from dit_run_plugins.schedulers.ddpm import STRIDED, Ddpm
from dit_run_plugins.schedulers.ddpm.noise_schedules import alphas_cumprod
from dit_run_plugins.schedulers.samplers import SamplingPath, run_sampler, spacing

__all__ = ["DiffusionProcess", "build"]

MODEL_SCALE = 1000.0
"""The model sees timestep i of T as ``1000 i / T``."""
WHOLE = 1e-3
"""Distance below which a timestep counts as whole, because the model's scale rounds."""


def build(options: Ddpm) -> DiffusionProcess:
    """Return the objective and samplers of these options."""
    return DiffusionProcess(options)


class DiffusionProcess:
    """Objective and samplers of one noise schedule; see :class:`dit_run.protocols.Scheduler`.

    Formulae: Ho et al. 2020 (process, epsilon), Salimans and Ho 2022 (v_prediction), Hang et al. 2023 (min-SNR
    weights).
    """

    samplers = Ddpm.samplers

    def __init__(self, options: Ddpm) -> None:
        self.prediction_type = options.prediction_type
        self.min_snr_gamma = options.min_snr_gamma
        self.count = options.num_train_timesteps
        self._options = options
        products = alphas_cumprod(
            options.beta_schedule,
            start=options.beta_start,
            end=options.beta_end,
            count=options.num_train_timesteps,
            zero_terminal_snr=options.zero_terminal_snr,
        )
        self._scales = torch.stack([products.sqrt(), (1 - products).sqrt()])
        self._copies: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def timesteps(self, uniform: Tensor) -> Tensor:
        """Return floor(u T) in the model's scale, float [n], for uniform random numbers [n] in [0, 1)."""
        index = (uniform * self.count).floor().clamp(max=self.count - 1)
        return index * (MODEL_SCALE / self.count)

    def coefficients(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha_t and sigma_t, float [n], at timesteps [n] in the model's scale, whole or not."""
        scales = self._scales_like(timesteps)
        index = (timesteps * (self.count / MODEL_SCALE)).clamp(0, self.count - 1)
        index = torch.where((index - index.round()).abs() < WHOLE, index.round(), index)
        low, high = (scales[:, index.floor().long()], scales[:, index.ceil().long()])
        mixed = torch.lerp(low, high, index.frac())
        alpha, sigma = torch.where(index.frac() == 0, low, mixed / mixed.norm(dim=0))
        return alpha, sigma

    def _scales_like(self, timesteps: Tensor) -> Tensor:
        key = (timesteps.device, timesteps.dtype)
        if key not in self._copies:
            self._copies[key] = self._scales.to(device=timesteps.device, dtype=timesteps.dtype)
        return self._copies[key]

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return alpha_t x_0 + sigma_t noise."""
        alpha, sigma = self._spread(timesteps, latents)
        return alpha * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the noise, alpha_t noise - sigma_t x_0, or x_0."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "sample":
            return latents
        alpha, sigma = self._spread(timesteps, latents)
        return alpha * noise - sigma * latents

    def weight(self, timesteps: Tensor) -> Tensor:
        """Return 1, or min(SNR, gamma) for errors of x_0: divided by SNR for epsilon, by SNR + 1 for v_prediction."""
        if self.min_snr_gamma is None:
            return torch.ones_like(timesteps)
        alpha, sigma = self.coefficients(timesteps)
        snr = (alpha / sigma) ** 2
        capped = snr.clamp(max=self.min_snr_gamma)
        return {"epsilon": capped / snr, "v_prediction": capped / (snr + 1), "sample": capped}[self.prediction_type]

    def to_x0(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """Return the clean latents that a model output stands for: the inverse of ``target`` given x_t."""
        return self._invert(output, noisy, *self._spread(timesteps, noisy))

    def _invert(self, output: Tensor, noisy: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
        if self.prediction_type == "epsilon":
            return (noisy - sigma * output) / alpha
        if self.prediction_type == "sample":
            return output
        return alpha * noisy - sigma * output

    def _spread(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = self.coefficients(timesteps)
        shape = (-1, *[1] * (like.ndim - 1))
        return alpha.view(shape), sigma.view(shape)

    def sample(self, predict: Predict, noise: Tensor, *, sampler: str, steps: int, step_noise: StepNoise) -> Tensor:
        """Return latents sampled from standard normal ``noise``, which is x_T.

        Raises InputError for an unknown sampler, or for more steps than it can take.
        """
        if sampler not in self.samplers:
            raise InputError(f"scheduler ddpm has no sampler {sampler!r}: choose one of {', '.join(self.samplers)}")
        path = self._strided(steps, sampler) if sampler in STRIDED else self._smooth(steps, sampler)
        return run_sampler(sampler, predict, self._invert, noise, path, step_noise)

    def to_diffusers(self, sampler: str) -> Any:
        """Return a DPMSolverMultistepScheduler of first order, which is DDIM for any number of steps.

        Raises NotInDiffusers for a sampler or a scale of timesteps that none of its schedulers has.
        """
        if sampler != "ddim":
            raise NotInDiffusers(f"no scheduler of diffusers has the steps of sampler {sampler}, only those of ddim")
        if self.count != MODEL_SCALE:
            raise NotInDiffusers(
                f"scheduler.num_train_timesteps is {self.count}, and the pipelines of diffusers take 1000"
            )
        from diffusers import DPMSolverMultistepScheduler

        options = self._options
        return DPMSolverMultistepScheduler(
            beta_start=options.beta_start,
            beta_end=options.beta_end,
            beta_schedule=options.beta_schedule,
            prediction_type=options.prediction_type,
            rescale_betas_zero_snr=options.zero_terminal_snr,
            solver_order=1,
            timestep_spacing="trailing",
        )

    def _strided(self, steps: int, sampler: str) -> SamplingPath:
        """Return whole timesteps at equal distances down from the last ("trailing", Lin et al. 2023)."""
        if steps > self.count:
            raise InputError(f"sampler {sampler} takes at most {self.count} steps (num_train_timesteps), not {steps}")
        return self._path([float(round(self.count - i * self.count / steps) - 1) for i in range(steps)])

    def _smooth(self, steps: int, sampler: str) -> SamplingPath:
        """Return timesteps from the last to the first, also fractional ones, spaced in s = sigma / (alpha + sigma)."""
        alphas, sigmas = self._scales
        s = (sigmas / (alphas + sigmas)).numpy()
        points = [s[0] + (s[-1] - s[0]) * part for part in spacing(sampler, steps - 1)]
        return self._path(np.interp(points, s, np.arange(self.count)).tolist())

    def _path(self, indices: Sequence[float]) -> SamplingPath:
        timesteps = torch.tensor(indices, dtype=torch.float64) * (MODEL_SCALE / self.count)
        alphas, sigmas = self.coefficients(timesteps)
        return SamplingPath(timesteps.tolist(), [*alphas.tolist(), 1.0], [*sigmas.tolist(), 0.0])
