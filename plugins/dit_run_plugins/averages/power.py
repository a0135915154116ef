"""power: the power function average of the weights, whose length is a share of the steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dit_run.options import bounds
from dit_run.protocols import AverageShare

__all__ = ["Power", "build"]


@dataclass(frozen=True, kw_only=True)
class Power:
    """The power function average of the weights (Karras et al. 2024): its length grows with the run."""

    length: Annotated[float, bounds(gt=0, le=0.28)] = 0.1
    """Length as a share of the steps so far: the standard deviation of the shares that each of them has. 0.05 to 0.15
    are usual; 0.2887 would weight all steps equally."""


def build(options: Power) -> AverageShare:
    """Return the share of the new weights, 1 - (1 - 1 / t)^(power + 1) in update t, as a function of the step."""
    from dit_run.model.average_profiles import power_decay, power_of_length

    power = power_of_length(options.length)
    return lambda step: 1 - power_decay(step, power=power)
