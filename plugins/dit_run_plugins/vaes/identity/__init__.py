"""Pixel space: no VAE at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dit_run.config.rules import latent_problems
from dit_run.problems import Problem
from dit_run.protocols import RuleContext

if TYPE_CHECKING:
    from dit_run_plugins.vaes.identity.vae import Pixels

__all__ = ["Identity", "build", "fits"]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The model works on the pixels themselves, 3 channels in [-1, 1]: right for small images."""


def build(options: Identity) -> Pixels:
    from dit_run_plugins.vaes.identity.vae import Pixels

    return Pixels()


def fits(context: RuleContext) -> Iterator[Problem]:
    """A rule: three channels, a side that whole patches fill."""
    return latent_problems(context.config, channels=3, factor=1, vae=context.path)
