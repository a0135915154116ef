"""Noise schedulers: noise process, training target and samplers in one object."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Predict", "Scheduler", "SchedulerOf", "StepNoise"]

Predict = Callable[["Tensor", "Tensor"], "Tensor"]
"""``predict(noisy latents [n, c, h, w], timesteps float [n]) -> model output``, with guidance applied.

All timesteps of one call must be the same. They may be on the CPU, where the function reads them without waiting for a
GPU. The output has the shape and dtype of the noisy latents."""

StepNoise = Callable[[int], "Tensor"]
"""``step_noise(i)``: standard normal noise [n, c, h, w] of sampling step i, counted from 0.

Every image has noise of its own, and the same i always gives the same noise."""


class Scheduler(Protocol):
    """``build(options, *, latent_shape: tuple[int, int, int]) -> Scheduler``: noise process, target and samplers.

    ``latent_shape`` is (c, h, w) in training; images may be sampled in other sizes. All methods are pure functions of
    their arguments, and coefficients take device and dtype of the arguments. Timesteps are float [n] on the model's
    scale of [0, 1000]; latents, noise, x_t, targets and model outputs are [n, c, h, w]. The training loss of a sample
    is ``weight(t) * mean((model(x_t, t) - target)²)``.

    A process may have a method ``to_diffusers(sampler)``, which returns the scheduler of diffusers with the same steps
    as this sampler: for any number n of them, or for the ``sigmas`` 1, 1 - 1/n, … 1/n where its ``set_timesteps``
    takes sigmas. It raises :class:`dit_run.problems.NotInDiffusers` with the reason where diffusers has none. An export
    then can use a pipeline of diffusers itself.
    """

    prediction_type: str
    """Name of the quantity that the model predicts, for reports: ``epsilon``, ``velocity`` and the like."""
    samplers: tuple[str, ...]
    """Names of the samplers for this process and prediction type, the default first."""

    def timesteps(self, uniform: Tensor) -> Tensor:
        """Return training timesteps, float [n], for uniform random numbers, float [n] in [0, 1).

        The map is monotone, so that stratified random numbers give stratified timesteps.
        """
        ...

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return x_t, the noisy latents."""
        ...

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the output that the model is trained to give for x_t."""
        ...

    def weight(self, timesteps: Tensor) -> Tensor:
        """Return loss weights, float [n], of at least 0."""
        ...

    def to_x0(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """Return the clean latents that a model output stands for."""
        ...

    def sample(self, predict: Predict, noise: Tensor, *, sampler: str, steps: int, step_noise: StepNoise) -> Tensor:
        """Return latents [n, c, h, w], made from standard normal ``noise`` of that shape in one or more ``steps``.

        ``sampler`` is one of ``samplers``. The method scales the noise itself if its process does not start at N(0, 1),
        and clips nothing. Deterministic samplers never call ``step_noise``. Called without gradients.
        """
        ...


SchedulerOf = Callable[[tuple[int, int, int]], Scheduler]
"""The scheduler for latents of a shape (c, h, w): a noise process may depend on the resolution."""
