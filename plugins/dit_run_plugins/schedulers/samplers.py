"""Samplers: from noise to latents, for any process with x_t = alpha_t x_0 + sigma_t noise.

A process gives the points that a sampling run visits (:class:`SamplingPath`) and the conversion of a model output to
clean latents; the update rules here depend on neither. All of them work in data prediction, clip nothing, end at the
model's own estimate of the clean latents, and hold at zero terminal SNR (alpha_T = 0).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import cos, log, pi, sqrt

import torch
from torch import Tensor

from dit_run.protocols import Predict, StepNoise

__all__ = ["SAMPLERS", "SamplingPath", "dpm_solver", "heun", "run_sampler", "spacing"]

Denoise = Callable[[Tensor, int], Tensor]
"""``denoise(x, i)``: the model's estimate of the clean latents for ``x`` at point i of the path."""

Invert = Callable[[Tensor, Tensor, float, float], Tensor]
"""``invert(output, x, alpha, sigma)``: the clean latents that a model output for ``x`` stands for."""


@dataclass(frozen=True)
class SamplingPath:
    """The n + 1 points that a sampling run visits from noise to clean latents, with n model calls between them."""

    timesteps: Sequence[float]
    """n timesteps in the scale of the model, [0, 1000], falling."""
    alphas: Sequence[float]
    """n + 1 scales of the clean latents; the last is 1."""
    sigmas: Sequence[float]
    """n + 1 scales of the noise; the last is 0."""

    @property
    def steps(self) -> int:
        return len(self.timesteps)


def spacing(sampler: str, steps: int) -> list[float]:
    """Return steps + 1 points from noise (1) to clean (0), in sigma / (alpha + sigma) or a similar time.

    They are evenly spaced, except for DPM-Solver++, whose points follow a cosine: it works in log(alpha / sigma), which
    grows without bound at both ends, and has second order only if the steps shrink towards them.
    """
    even = [1 - i / max(steps, 1) for i in range(steps + 1)]
    return [(1 - cos(pi * u)) / 2 for u in even] if sampler == "dpm-solver++" else even


Update = Callable[[Denoise, Tensor, SamplingPath, StepNoise], Tensor]
"""``update(denoise, x, path, step_noise)``: latents from ``x`` at the first point of the path."""


def run_sampler(
    sampler: str, predict: Predict, invert: Invert, noise: Tensor, path: SamplingPath, step_noise: StepNoise
) -> Tensor:
    """Return latents from ``noise`` [n, c, h, w] at the first point of the path, by the sampler of this name."""

    def denoise(x: Tensor, i: int) -> Tensor:
        timesteps = torch.full((len(x),), path.timesteps[i], dtype=x.dtype)  # on the CPU: guidance reads them
        return invert(predict(x, timesteps), x, path.alphas[i], path.sigmas[i])

    return SAMPLERS[sampler](denoise, noise, path, step_noise)


def euler(denoise: Denoise, x: Tensor, path: SamplingPath, step_noise: StepNoise) -> Tensor:
    """Keep the noise that the estimate implies: first order, deterministic (DDIM, eta 0, Song et al. 2021, eq. 12).

    On a straight path (alpha = 1 - t, sigma = t) this is Euler's method in t, on any other path in sigma / alpha.
    """
    for i in range(path.steps):
        clean = denoise(x, i)
        kept = path.sigmas[i + 1] / path.sigmas[i]
        x = kept * x + (path.alphas[i + 1] - kept * path.alphas[i]) * clean
    return x


def ancestral(denoise: Denoise, x: Tensor, path: SamplingPath, step_noise: StepNoise) -> Tensor:
    """Draw from the posterior q(x_s | x_t, x_0) at the estimate (DDPM, Ho et al. 2020, eq. 6 and 7, for any stride).

    Its variance is the posterior's own ("fixed small"); the last step adds none.
    """
    for i in range(path.steps):
        clean = denoise(x, i)
        alpha, sigma, next_alpha, next_sigma = path.alphas[i], path.sigmas[i], path.alphas[i + 1], path.sigmas[i + 1]
        ratio = alpha / next_alpha
        kept = ratio * (next_sigma / sigma) ** 2
        x = kept * x + (next_alpha - kept * alpha) * clean
        if next_sigma > 0:
            x = x + (next_sigma / sigma) * sqrt(sigma**2 - (ratio * next_sigma) ** 2) * step_noise(i)
    return x


def heun(denoise: Denoise, x: Tensor, path: SamplingPath, step_noise: StepNoise) -> Tensor:
    """Average two slopes: second order, deterministic, two model calls a step (Karras et al. 2022, algorithm 1).

    The last step has one call. Integrates y = x / (alpha + sigma) over s = sigma / (alpha + sigma), with
    dy/ds = (y - x_0) / s. On a straight path these are x and t themselves; they stay finite at zero terminal SNR.
    """
    for i in range(path.steps):
        scale, next_scale = (path.alphas[j] + path.sigmas[j] for j in (i, i + 1))
        s, next_s = path.sigmas[i] / scale, path.sigmas[i + 1] / next_scale
        clean, y = denoise(x, i), x / scale
        if next_s == 0:
            return clean
        slope = (y - clean) / s
        ahead = y + (next_s - s) * slope
        next_slope = (ahead - denoise(ahead * next_scale, i + 1)) / next_s
        x = (y + (next_s - s) * (slope + next_slope) / 2) * next_scale
    return x


def dpm_solver(denoise: Denoise, x: Tensor, path: SamplingPath, step_noise: StepNoise) -> Tensor:
    """Extrapolate from the last estimate: DPM-Solver++(2M), second order, deterministic (Lu et al. 2022, algorithm 2).

    One model call a step. First order if this step or the one before is infinite in log(alpha / sigma): the first, the
    last, and the second from zero terminal SNR.
    """
    before = x
    for i in range(path.steps):
        clean = denoise(x, i)
        share = _extrapolation(path, i)
        estimate = clean if share == 0 else (1 + share) * clean - share * before
        kept = path.sigmas[i + 1] / path.sigmas[i]
        x = kept * x + (path.alphas[i + 1] - kept * path.alphas[i]) * estimate
        before = clean
    return x


def _extrapolation(path: SamplingPath, i: int) -> float:
    """Return 1 / 2r of step i: half its length in log(alpha / sigma) over the length of the step before."""
    if i == 0 or path.alphas[i - 1] == 0 or path.sigmas[i + 1] == 0:
        return 0.0
    before, here, after = (log(path.alphas[j] / path.sigmas[j]) for j in (i - 1, i, i + 1))
    return (after - here) / (here - before) / 2


SAMPLERS: Mapping[str, Update] = {
    "ddim": euler,
    "ddpm": ancestral,
    "dpm-solver++": dpm_solver,
    "euler": euler,
    "heun": heun,
}
"""Update rules by the names that configs use."""
