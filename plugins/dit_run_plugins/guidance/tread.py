"""tread: away from the prediction of the same model with routed tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from dit_run.options import acts_unless, bounds
from dit_run.problems import Problem
from dit_run.protocols import Guidance, Routed, RuleContext
from dit_run_plugins.guidance.cfg import extrapolated

__all__ = ["Tread", "build", "model_routes"]


@dataclass(frozen=True, kw_only=True)
class Tread:
    """Sparse guidance (Krause et al. 2026) of models trained with token routing: away from the routed prediction."""

    share: Annotated[float, bounds(gt=0, lt=1), acts_unless("sampling.guidance_scale", 1.0)] = 0.5
    """Share of the patches that skips blocks in the weaker prediction, which is for the same caption."""

    @property
    def weaker(self) -> Routed:
        """The weaker prediction."""
        return Routed(self.share)


def model_routes(context: RuleContext) -> Iterator[Problem]:
    """Refuse a model that is trained without routing."""
    if getattr(context.config.model.options, "routed_share", None) == 0:
        message = "guidance.tread needs a model that is trained with token routing, but model.routed_share is 0"
        related, help_ = (("model", "routed_share"),), ("set model.routed_share: 0.5, or another guidance.type",)
        yield Problem("guidance-unrouted", message, ("guidance", "type"), related=related, help=help_)


def build(options: Tread) -> Guidance:
    """Return the function weaker + scale (caption - weaker); the paper's stronger prediction has all tokens here."""
    return extrapolated
