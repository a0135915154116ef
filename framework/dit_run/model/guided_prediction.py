"""Guided sampling: both predictions of the model in each step, combined by a guidance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count

import torch
from torch import Tensor

from dit_run.compute.devices import move
from dit_run.protocols import Guidance, GuidedStep, Predict, Scheduler, TextStates

__all__ = [
    "BothPredictions",
    "Forward",
    "GuidanceSettings",
    "guided",
    "rescaled",
    "unguided",
    "with_empty",
    "with_other",
    "with_routed",
]

Forward = Callable[[Tensor, Tensor, TextStates], Tensor]
"""``forward(noisy latents [n, c, h, w], timesteps [n], text states of n captions)`` returns the model's output."""

BothPredictions = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""``both(noisy latents, timesteps)`` returns the output for the captions, and the one that guidance moves away from."""

LAST_TIMESTEP = 1000.0
"""The timestep of pure noise."""


@dataclass(frozen=True)
class GuidanceSettings:
    """Settings of guidance: how closely images follow their captions."""

    scale: float | tuple[float, ...] = 1.0
    """1 is the output for the caption; larger values move further from the weaker prediction. One number for all
    images, or one for each."""
    rescale: float = 0.0
    """Share by which the guided output's standard deviation moves to that for the caption, from 0 to 1."""
    interval: tuple[float, float] = (0.0, 1.0)
    """The part of the way from clean (0) to noise (1) in which guidance is applied, both ends included."""

    @property
    def scales(self) -> tuple[float, ...]:
        """The scales: one for all images, or one for each."""
        return self.scale if isinstance(self.scale, tuple) else (self.scale,)

    def scale_of(self, index: int) -> float:
        """Return the scale of an image."""
        return self.scale[index] if isinstance(self.scale, tuple) else self.scale

    def of_images(self, start: int, stop: int) -> GuidanceSettings:
        """Return the settings of images ``start`` to ``stop``, without the last."""
        return replace(self, scale=self.scale[start:stop]) if isinstance(self.scale, tuple) else self

    @property
    def active(self) -> bool:
        """True where the weaker prediction is needed at all."""
        return any(scale != 1.0 for scale in self.scales) and self.interval[0] <= self.interval[1]

    def covers(self, timestep: float) -> bool:
        """Return True where guidance is applied at this timestep in [0, 1000]."""
        low, high = self.interval
        return self.active and low <= timestep / LAST_TIMESTEP <= high


def unguided(forward: Forward, text: TextStates) -> Predict:
    """Return the model's output for the captions as samplers call it, in the dtype of the noisy latents."""
    return lambda noisy, timesteps: forward(noisy, move(timesteps, noisy.device), text).to(noisy.dtype)


def with_empty(forward: Forward, text: TextStates, empty: TextStates) -> BothPredictions:
    """Return the outputs for captions and for empty captions of the same number of tokens, by one forward of 2n."""
    both = TextStates(*(torch.cat(pair) for pair in zip(text, empty, strict=True)))

    def predict(noisy: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        output = forward(torch.cat([noisy, noisy]), torch.cat([timesteps, timesteps]), both).to(noisy.dtype)
        caption, weaker = output.chunk(2)
        return caption, weaker

    return predict


def with_other(forward: Forward, text: TextStates, other: Forward, other_text: TextStates) -> BothPredictions:
    """Return the outputs of two models for the same captions, whose states may be encoded by each."""
    plain, weaker = unguided(forward, text), unguided(other, other_text)
    return lambda noisy, timesteps: (plain(noisy, timesteps), weaker(noisy, timesteps))


def with_routed(
    forward: Forward, text: TextStates, routed: Callable[..., Tensor], draws: Callable[[int], Tensor], share: float
) -> BothPredictions:
    """Return the outputs of a model for captions, without and with routing of this share of the patches.

    ``routed`` is the model that takes the patches to keep, too. ``draws`` returns a random number for each patch of
    each image, [n, patches], in each call from 0 on.
    """
    plain, calls = unguided(forward, text), count()

    def predict(noisy: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        order = draws(next(calls)).argsort(dim=1)
        kept = order[:, : max(1, round(order.shape[1] * (1 - share)))].sort(dim=1).values
        return plain(noisy, timesteps), routed(noisy, timesteps, text, kept=kept).to(noisy.dtype)

    return predict


def guided(
    plain: Predict, both: BothPredictions, guidance: Guidance, settings: GuidanceSettings, scheduler: Scheduler
) -> Predict:
    """Return the model with guidance applied, as samplers call it for one batch; all timesteps of a call are equal.

    Inside the interval (Kynkäänniemi et al. 2024) ``both`` predictions are made, outside of it the ``plain`` one alone.
    """
    calls, memory = count(), dict[str, Tensor]()
    scales = torch.tensor(settings.scales, dtype=torch.float32).view(-1, 1, 1, 1)
    mixed = 1.0 in settings.scales

    def predict(noisy: Tensor, timesteps: Tensor) -> Tensor:
        index = next(calls)
        # Timesteps of the device are read only where the answer depends on them: reading waits for the device.
        if settings.interval != (0.0, 1.0) and not settings.covers(float(timesteps[0])):
            return plain(noisy, timesteps)
        timesteps, scale = move(timesteps, noisy.device), move(scales, noisy.device).expand(len(noisy), 1, 1, 1)
        caption, weaker = both(noisy, timesteps)
        output = guidance(caption, weaker, GuidedStep(noisy, timesteps, scale, scheduler, index, memory))
        output = rescaled(output, caption, settings.rescale)
        return torch.where(scale == 1, caption, output) if mixed else output

    return predict


def rescaled(output: Tensor, caption: Tensor, share: float) -> Tensor:
    """Return a guided output [n, c, h, w] with its standard deviation moved towards that of the output for the caption.

    Each image has its own standard deviation; ``share`` is how far it is moved, 0 to 1 (Lin et al. 2023, equations 15
    and 16).
    """
    if share == 0:
        return output
    dims = tuple(range(1, output.ndim))
    spread = output.std(dims, keepdim=True)
    factor = torch.where(spread > 0, caption.std(dims, keepdim=True) / spread, 1.0)
    return output * (1 + share * (factor - 1))
