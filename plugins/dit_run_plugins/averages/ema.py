"""ema: the exponential moving average of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from dit_run.options import NonNegativeFloat, bounds
from dit_run.protocols import AverageShare

__all__ = ["Ema", "build"]


@dataclass(frozen=True, kw_only=True)
class Ema:
    """The exponential moving average of the weights, as `training.use_ema` keeps one."""

    decay: Annotated[float, bounds(ge=0, lt=1)] = 0.9999
    """Decay after the warm-up: the average is that of about the last 1 / (1 - decay) steps."""
    warmup: NonNegativeFloat = 0.75
    """Power p of the warm-up: the decay at update s is min(decay, 1 - (1 + s)^-p). 0 means no warm-up."""


def build(options: Ema) -> AverageShare:
    """Return the share of the new weights as a function of the step."""
    from dit_run.model.average_profiles import ema_share

    return partial(ema_share, decay=options.decay, power=options.warmup)
