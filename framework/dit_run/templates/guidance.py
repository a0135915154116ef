"""A guidance: classifier-free guidance that becomes weaker as the noise falls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dit_run import Component, Kind, hookimpl
from dit_run.options import NonNegativeFloat
from dit_run.protocols import Guidance, GuidedStep

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Example:
    """Guidance whose strength falls with the noise."""

    power: NonNegativeFloat = 1.0
    """Power of the share of noise by which the strength is multiplied; 0 changes nothing."""


def build(options: Example) -> Guidance:
    """Return a function of two predictions [n, c, h, w]; `weaker` is that for the empty caption."""

    def guided(caption: Tensor, weaker: Tensor, step: GuidedStep) -> Tensor:
        share = (step.timesteps / 1000).view(-1, 1, 1, 1) ** options.power
        return caption + (step.scale - 1) * share * (caption - weaker)

    return guided


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.GUIDANCE, "example", Example, build)]
