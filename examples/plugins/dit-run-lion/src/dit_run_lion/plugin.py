"""What the package offers. Light: the optimizer itself is imported when a config uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dit_run import Component, Kind, hookimpl
from dit_run.options import NonNegativeFloat, bounds


@dataclass(frozen=True, kw_only=True)
class Lion:
    """Evolved sign momentum: one buffer per weight, updates of one size. Wants a learning rate 3 to 10 times smaller
    than AdamW's, and a weight decay as much larger."""

    betas: Annotated[tuple[float, float], bounds(ge=0, lt=1)] = (0.9, 0.99)
    """How much of the momentum is in the update, and how much of it stays for the next."""
    weight_decay: NonNegativeFloat = 0.1
    """Decay of the weights of linear and convolution layers, times the learning rate."""


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.OPTIMIZER, "lion", Lion, "dit_run_lion.lion:build")]
