"""cfg: classifier-free guidance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from dit_run.protocols import Guidance, GuidedStep

__all__ = ["Cfg", "build"]


@dataclass(frozen=True, kw_only=True)
class Cfg:
    """Classifier-free guidance (Ho and Salimans 2022), away from the prediction for the empty caption."""

    in_diffusers = True


def build(options: Cfg) -> Guidance:
    """Return the guidance."""
    return extrapolated


def extrapolated(caption: Tensor, weaker: Tensor, step: GuidedStep) -> Tensor:
    """Return weaker + scale (caption - weaker) (Ho and Salimans 2022, equation 6, whose w is scale - 1)."""
    return weaker.lerp(caption, step.scale)
