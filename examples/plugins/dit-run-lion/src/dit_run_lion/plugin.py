"""The component of this package. It is light to import: the optimizer is imported when a config uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dit_run import Component, Kind, hookimpl
from dit_run.options import NonNegativeFloat, bounds


@dataclass(frozen=True, kw_only=True)
class Lion:
    """Evolved sign momentum: one buffer per weight, and updates of the same size for all weights.

    Use a learning rate 3 to 10 times smaller than that of AdamW, and a weight decay larger by the same factor.
    """

    betas: Annotated[tuple[float, float], bounds(ge=0, lt=1)] = (0.9, 0.99)
    """Fraction of the momentum in the update, and fraction that is kept for the next step."""
    weight_decay: NonNegativeFloat = 0.1
    """Decay of the weights of linear and convolution layers, multiplied by the learning rate."""


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.OPTIMIZER, "lion", Lion, "dit_run_lion.lion:build")]
