"""apg: adaptive projected guidance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

from dit_run.options import NonNegativeFloat, acts_unless, bounds

if TYPE_CHECKING:
    from torch import Tensor

    from dit_run.protocols import Guidance, GuidedStep

__all__ = ["Apg", "build", "projected"]

_DIFFERENCE = "difference"
"""Name in the memory of a step: the running sum of differences."""


@dataclass(frozen=True, kw_only=True)
class Apg:
    """Adaptive projected guidance (Sadat et al. 2024), which keeps colours natural at large scales."""

    parallel: Annotated[NonNegativeFloat, acts_unless("sampling.guidance_scale", 1.0)] = 0.0
    """Share of the part that points along the clean image and saturates it; 1 keeps all, as classifier-free guidance
    does."""
    norm: Annotated[NonNegativeFloat, acts_unless("sampling.guidance_scale", 1.0)] = 0.0
    """Largest norm of the difference between both clean images; 0 sets no limit. The paper uses 2.5 to 15, with latents
    of standard deviation 0.5 to 1."""
    momentum: Annotated[float, bounds(gt=-1, lt=1), acts_unless("sampling.guidance_scale", 1.0)] = -0.5
    """Share of the differences of earlier steps that is added to a difference; below 0 pushes away from them."""


def build(options: Apg) -> Guidance:
    """Return the guidance."""
    return partial(projected, options=options)


def projected(caption: Tensor, weaker: Tensor, step: GuidedStep, *, options: Apg) -> Tensor:
    """Return the output whose clean image is that of the caption plus (scale - 1) times the changed difference.

    The difference of both clean images has a (negative) momentum, its norm is limited, and its part parallel to the
    clean image of the caption is scaled down (Sadat et al. 2024, "Eliminating Oversaturation and Artifacts of High
    Guidance Scales in Diffusion Models", section 4 and algorithm 1).
    """
    clean, weaker_clean = (step.scheduler.to_x0(each, step.noisy, step.timesteps) for each in (caption, weaker))
    difference = clean - weaker_clean
    if _DIFFERENCE in step.memory:
        difference = difference + options.momentum * step.memory[_DIFFERENCE]
    step.memory[_DIFFERENCE] = difference
    if options.norm > 0:
        difference = difference * (options.norm / _norm(difference)).clamp(max=1.0)
    along = _part_along(difference, clean)
    change = difference - (1 - options.parallel) * along
    return caption + (step.scale - 1) * output_of(change, step)


def output_of(change: Tensor, step: GuidedStep) -> Tensor:
    """Return the change of the model's output that changes the clean image by ``change``, where x_t stays.

    With x_t = alpha x_0 + sigma noise the noise changes by -alpha / sigma times as much, and the output is linear in
    both.
    """
    one, zero = step.noisy.new_ones(step.noisy.shape), step.noisy.new_zeros(step.noisy.shape)
    alpha, sigma = (step.scheduler.add_noise(*pair, step.timesteps) for pair in ((one, zero), (zero, one)))
    return step.scheduler.target(change, -alpha / sigma * change, step.timesteps)


def _part_along(vector: Tensor, direction: Tensor) -> Tensor:
    """Return the part of each image's vector that is parallel to a direction; 0 for a direction of 0."""
    vector, direction = vector.double(), direction.double()
    unit = direction / _norm(direction).clamp(min=1e-12)
    return ((vector * unit).sum((1, 2, 3), keepdim=True) * unit).float()


def _norm(values: Tensor) -> Tensor:
    return values.square().sum((1, 2, 3), keepdim=True).sqrt()
