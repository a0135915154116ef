"""identity: pixel space instead of latents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dit_run.config.rule_checks import latent_problems
from dit_run.problems import Problem
from dit_run.protocols import Adjustment, RuleContext

__all__ = ["Identity", "pixels_fit"]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The model works on the pixels themselves, 3 channels in [-1, 1]: suitable for small images."""


def pixels_fit(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """Refuse other than three channels, and an image size that is not a multiple of the patch size."""
    return latent_problems(context.config, channels=3, factor=1, vae=context.path)
