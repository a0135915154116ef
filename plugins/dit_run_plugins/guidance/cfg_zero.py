"""cfg_zero: classifier-free guidance for flow matching with an optimised scale and zero initialisation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

from dit_run.options import NonNegativeInt, acts_unless
from dit_run.problems import Problem
from dit_run.protocols import Adjustment, RuleContext

if TYPE_CHECKING:
    from torch import Tensor

    from dit_run.protocols import Guidance, GuidedStep

__all__ = ["CfgZero", "build", "fits_velocities", "zero_star"]


@dataclass(frozen=True, kw_only=True)
class CfgZero:
    """CFG-Zero* (Fan et al. 2025): the weaker prediction scaled to the caption's, and first steps that do nothing."""

    zero_calls: Annotated[NonNegativeInt, acts_unless("sampling.guidance_scale", 1.0)] = 1
    """Number of calls of the model at the start whose velocity is set to 0, because it is worse than none; 1 of about
    25 steps in the paper. It needs a model that predicts velocities of a flow."""


def fits_velocities(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """Refuse written calls with a zero output where this does not leave the latents as they are; else set none."""
    predicted, path = (
        getattr(context.config.scheduler.options, "prediction_type", "velocity"),
        ("guidance", "zero_calls"),
    )
    if not context.options.zero_calls or predicted == "velocity":
        return
    if path not in context.written:
        yield Adjustment(
            path, 0, f"the model predicts {predicted}, and an output of 0 does not leave latents as they are"
        )
    else:
        yield Problem(
            "zero-is-no-velocity",
            f"guidance.zero_calls is {context.options.zero_calls}, but the model predicts "
            f"{predicted} (scheduler.prediction_type): an output of 0 does not leave the latents as they are",
            path,
            related=(("scheduler", "prediction_type"), ("guidance", "type")),
            help=("set zero_calls: 0, which keeps the optimised scale",),
        )


def build(options: CfgZero) -> Guidance:
    """Return the guidance."""
    return partial(zero_star, zero_calls=options.zero_calls)


def zero_star(caption: Tensor, weaker: Tensor, step: GuidedStep, *, zero_calls: int) -> Tensor:
    """Return s weaker + scale (caption - s weaker) with s = <caption, weaker> / |weaker|², and 0 in the first calls.

    The factor s brings the weaker velocity as near to that of the caption as a factor can, before the model is exact
    (Fan et al. 2025, "CFG-Zero*: Improved Classifier-Free Guidance for Flow Matching Models", algorithm 1).
    """
    if step.index < zero_calls:
        return caption.new_zeros(caption.shape)
    dims = (1, 2, 3)
    factor = (caption * weaker).sum(dims, keepdim=True) / weaker.square().sum(dims, keepdim=True).clamp(min=1e-8)
    return (factor * weaker).lerp(caption, step.scale)
