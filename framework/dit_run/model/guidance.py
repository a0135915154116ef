"""Classifier-free guidance: from the prediction for the empty caption towards that for the given one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dit_run.compute.devices import move
from dit_run.protocols import Predict, TextStates

__all__ = ["Forward", "Guidance", "combined", "guided", "rescaled"]

Forward = Callable[[Tensor, Tensor, TextStates], Tensor]
"""``forward(noisy latents [n, c, h, w], timesteps [n], text states of n captions)`` returns the model's output."""

LAST_TIMESTEP = 1000.0
"""The timestep of pure noise."""


@dataclass(frozen=True)
class Guidance:
    """Settings of guidance: how closely images follow their captions."""

    scale: float = 1.0
    """1 is the conditional output, 0 the unconditional one; above 1 extrapolates beyond the conditional one."""
    rescale: float = 0.0
    """Share by which the guided output's standard deviation moves to that of the conditional one, from 0 to 1."""
    interval: tuple[float, float] = (0.0, 1.0)
    """The part of the way from clean (0) to noise (1) in which guidance is applied, both ends included."""

    @property
    def active(self) -> bool:
        """True where the output for the empty caption is needed at all."""
        return self.scale != 1.0 and self.interval[0] <= self.interval[1]

    def covers(self, timestep: float) -> bool:
        """Return True where guidance is applied at this timestep in [0, 1000]."""
        low, high = self.interval
        return self.active and low <= timestep / LAST_TIMESTEP <= high


def guided(forward: Forward, text: TextStates, empty: TextStates | None, guidance: Guidance) -> Predict:
    """Return the model with guidance applied, as samplers call it; all timesteps of one call must be equal.

    ``text`` holds the conditions of n captions, ``empty`` those of the n captions that guidance moves away from, with
    the same number of tokens; None where guidance is not active. Inside the interval (Kynkäänniemi et al. 2024) both
    go through one forward of 2n, outside ``text`` alone through one of n. The output has the dtype of the noisy
    latents.
    """
    if empty is None or not guidance.active:
        return lambda noisy, timesteps: forward(noisy, move(timesteps, noisy.device), text).to(noisy.dtype)
    both = TextStates(*(torch.cat(pair) for pair in zip(text, empty, strict=True)))

    def predict(noisy: Tensor, timesteps: Tensor) -> Tensor:
        # Timesteps of the device are read only where the answer depends on them: reading waits for the device.
        covered = guidance.interval == (0.0, 1.0) or guidance.covers(float(timesteps[0]))
        timesteps = move(timesteps, noisy.device)
        if not covered:
            return forward(noisy, timesteps, text).to(noisy.dtype)
        output = forward(torch.cat([noisy, noisy]), torch.cat([timesteps, timesteps]), both).to(noisy.dtype)
        conditional, unconditional = output.chunk(2)
        return rescaled(combined(conditional, unconditional, guidance.scale), conditional, guidance.rescale)

    return predict


def combined(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Return unconditional + scale (conditional - unconditional) (Ho and Salimans 2022)."""
    return torch.lerp(unconditional, conditional, scale)


def rescaled(output: Tensor, conditional: Tensor, share: float) -> Tensor:
    """Return a guided output [n, c, h, w] with its standard deviation moved towards the conditional output's.

    Each image has its own standard deviation; ``share`` is how far it is moved, 0 to 1 (Lin et al. 2023, equations 15
    and 16).
    """
    if share == 0:
        return output
    dims = tuple(range(1, output.ndim))
    spread = output.std(dims, keepdim=True)
    factor = torch.where(spread > 0, conditional.std(dims, keepdim=True) / spread, 1.0)
    return output * (1 + share * (factor - 1))
