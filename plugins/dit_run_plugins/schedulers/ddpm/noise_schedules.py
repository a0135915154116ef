"""Noise schedules: the share of the clean latents that is left at each discrete timestep."""

from __future__ import annotations

from math import cos, pi

import torch
from torch import Tensor

__all__ = ["alphas_cumprod"]

MAX_BETA = 0.999
"""Largest beta of the squared cosine (Nichol and Dhariwal 2021, section 3.2)."""


def alphas_cumprod(schedule: str, *, start: float, end: float, count: int, zero_terminal_snr: bool) -> Tensor:
    """Return alpha_t² of each timestep, float64 [count], falling; the last is 0 with ``zero_terminal_snr``."""
    products = torch.cumprod(1 - _betas(schedule, start=start, end=end, count=count), dim=0)
    return _rescale_to_zero_terminal_snr(products) if zero_terminal_snr else products


def _betas(schedule: str, *, start: float, end: float, count: int) -> Tensor:
    """Return the noise added by each timestep, float64 [count].

    ``linear`` in beta (Ho et al. 2020), ``scaled_linear`` in its square root (Rombach et al. 2022), or
    ``squaredcos_cap_v2``, whose cumulative signal is a squared cosine and takes no start and end (Nichol and Dhariwal
    2021). A ``count`` other than 1000 keeps start and end, as in diffusers.
    """
    if schedule == "linear":
        return torch.linspace(start, end, count, dtype=torch.float64)
    if schedule == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, count, dtype=torch.float64) ** 2
    if schedule == "squaredcos_cap_v2":
        signal = [cos((i / count + 0.008) / 1.008 * pi / 2) ** 2 for i in range(count + 1)]
        values = [min(1 - signal[i + 1] / signal[i], MAX_BETA) for i in range(count)]
        return torch.tensor(values, dtype=torch.float64)
    raise ValueError(f"beta_schedule must be linear, scaled_linear or squaredcos_cap_v2, not {schedule!r}")


def _rescale_to_zero_terminal_snr(products: Tensor) -> Tensor:
    """Shift alpha_t so that the last is 0, and scale it so that the first stays (Lin et al. 2023, algorithm 1)."""
    alphas = products.sqrt()
    return ((alphas - alphas[-1]) * (alphas[0] / (alphas[0] - alphas[-1]))) ** 2
