"""autoguidance: away from the prediction of weaker weights of the same run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from dit_run.options import PositiveInt, acts_unless
from dit_run.problems import Problem
from dit_run.protocols import Guidance, OtherWeights, RuleContext
from dit_run_plugins.guidance.cfg import extrapolated

__all__ = ["Autoguidance", "build", "weights_differ"]


@dataclass(frozen=True, kw_only=True)
class Autoguidance:
    """Autoguidance (Karras et al. 2024): away from the prediction of weaker weights of the run for the same caption.

    It corrects errors, keeps images as different from each other as they are, and needs no caption dropout. A sampling
    step takes as long as with classifier-free guidance, and the memory of two models.
    """

    checkpoint: Annotated[PositiveInt | None, acts_unless("sampling.guidance_scale", 1.0)] = None
    """Step of the checkpoint with the weaker weights, about a tenth of those trained; null takes the one whose images
    are sampled. A run keeps the checkpoint that is named here, and samples without guidance until it is saved."""
    weights: Annotated[Literal["averaged", "live"], acts_unless("sampling.guidance_scale", 1.0)] = "averaged"
    """Weights of that checkpoint: the average, if the run keeps one, or those that train."""

    @property
    def weaker(self) -> OtherWeights:
        """The weights whose prediction is the weaker one."""
        return OtherWeights(self.checkpoint, self.weights == "averaged")


def weights_differ(context: RuleContext) -> Iterator[Problem]:
    """Refuse guidance by the very weights that are guided."""
    options, config = context.options, context.config
    averages = bool(config.average_names)
    if options.checkpoint is None and (options.weights == "averaged" or not averages):
        yield Problem(
            "guided-by-itself",
            "guidance.autoguidance would move away from the prediction of the same weights, which changes nothing",
            ("guidance", "type"),
            related=(("guidance", "weights"), ("training", "use_ema")),
            help=(
                "name an earlier checkpoint: guidance.checkpoint: 500",
                *(("or guide the average by the weights that train: guidance.weights: live",) if averages else ()),
            ),
        )


def build(options: Autoguidance) -> Guidance:
    """Return the function weaker + scale (caption - weaker).

    It is equation 3 of Karras et al. 2024, "Guiding a Diffusion Model with a Bad Version of Itself".
    """
    return extrapolated
