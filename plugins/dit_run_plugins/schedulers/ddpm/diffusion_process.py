"""The variance-preserving process over discrete timesteps: x_t = alpha_t x_0 + sigma_t noise, alpha² + sigma² = 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dit_run.problems import InputError
from dit_run.protocols import Predict, StepNoise
from dit_run_plugins.schedulers.ddpm import SAMPLERS, STRIDED, Ddpm
from dit_run_plugins.schedulers.ddpm.noise_schedules import alphas_cumprod
from dit_run_plugins.schedulers.samplers import Path, run, way

__all__ = ["Diffusion", "build"]

MODEL_SCALE = 1000.0
"""Timestep i of T is ``1000 i / T`` to the model."""
WHOLE = 1e-3
"""A timestep this near to a whole one is that one: the model's scale rounds."""


def build(options: Ddpm) -> Diffusion:
    """The objective and samplers of these options."""
    products = alphas_cumprod(
        options.beta_schedule,
        start=options.beta_start,
        end=options.beta_end,
        count=options.num_train_timesteps,
        zero_terminal_snr=options.zero_terminal_snr,
    )
    return Diffusion(products, prediction_type=options.prediction_type, min_snr_gamma=options.min_snr_gamma)


class Diffusion:
    """Objective and samplers of one noise schedule; see :class:`dit_run.protocols.Scheduler`.

    ``alphas_cumprod`` is alpha_t², float64 [T], falling. Formulae: Ho et al. 2020 (process, epsilon), Salimans and Ho
    2022 (v_prediction), Hang et al. 2023 (min-SNR weights).
    """

    samplers = SAMPLERS

    def __init__(self, alphas_cumprod: Tensor, *, prediction_type: str, min_snr_gamma: float | None = None) -> None:
        self.prediction_type = prediction_type
        self.min_snr_gamma = min_snr_gamma
        self.count = len(alphas_cumprod)
        self._scales = torch.stack([alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt()])
        self._copies: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def timesteps(self, uniform: Tensor) -> Tensor:
        """floor(u T), in model scale; float [n] for uniform draws [n] in [0, 1)."""
        index = (uniform * self.count).floor().clamp(max=self.count - 1)
        return index * (MODEL_SCALE / self.count)

    def coefficients(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t, float [n], at timesteps [n] in model scale; between two they are interpolated."""
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
        """alpha_t x_0 + sigma_t noise."""
        alpha, sigma = self._spread(timesteps, latents)
        return alpha * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The noise, alpha_t noise - sigma_t x_0, or x_0."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "sample":
            return latents
        alpha, sigma = self._spread(timesteps, latents)
        return alpha * noise - sigma * latents

    def weight(self, timesteps: Tensor) -> Tensor:
        """1, or min(SNR, gamma) on the error of x_0: over SNR for epsilon, over SNR + 1 for v_prediction."""
        if self.min_snr_gamma is None:
            return torch.ones_like(timesteps)
        alpha, sigma = self.coefficients(timesteps)
        snr = (alpha / sigma) ** 2
        capped = snr.clamp(max=self.min_snr_gamma)
        return {"epsilon": capped / snr, "v_prediction": capped / (snr + 1), "sample": capped}[self.prediction_type]

    def to_x0(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The clean latents that a model output stands for: the inverse of ``target`` given x_t."""
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
        """Latents from standard normal ``noise``, which is x_T. Raises InputError for a sampler that does not fit, or
        for more steps than it can take."""
        if sampler not in self.samplers:
            raise InputError(f"scheduler ddpm has no sampler {sampler!r}: it has {', '.join(self.samplers)}")
        path = self._strided(steps, sampler) if sampler in STRIDED else self._smooth(steps, sampler)
        return run(sampler, predict, self._invert, noise, path, step_noise)

    def _strided(self, steps: int, sampler: str) -> Path:
        """Whole timesteps at even distances down from the last (Lin et al. 2023, "trailing")."""
        if steps > self.count:
            raise InputError(f"sampler {sampler} takes at most {self.count} steps (num_train_timesteps), not {steps}")
        return self._path([float(round(self.count - i * self.count / steps) - 1) for i in range(steps)])

    def _smooth(self, steps: int, sampler: str) -> Path:
        """From the last timestep to the first over s = sigma / (alpha + sigma), and between whole timesteps."""
        alphas, sigmas = self._scales
        s = (sigmas / (alphas + sigmas)).numpy()
        points = [s[0] + (s[-1] - s[0]) * part for part in way(sampler, steps - 1)]
        return self._path(np.interp(points, s, np.arange(self.count)).tolist())

    def _path(self, indices: Sequence[float]) -> Path:
        timesteps = torch.tensor(indices, dtype=torch.float64) * (MODEL_SCALE / self.count)
        alphas, sigmas = self.coefficients(timesteps)
        return Path(timesteps.tolist(), [*alphas.tolist(), 1.0], [*sigmas.tolist(), 0.0])
