"""The rule that image size, patch size and channels fit a VAE whose config.json is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dit_run.config.rules import latent_problems
from dit_run.problems import Problem
from dit_run.protocols import Adjustment, RuleContext

__all__ = ["latents_fit"]


def latents_fit(context: RuleContext, vae_config: Mapping[str, Any], blocks_key: str) -> Iterator[Problem | Adjustment]:
    """Refuse sizes and channels that do not fit; values missing from the VAE's config are not checked."""
    channels, blocks = vae_config.get("latent_channels"), vae_config.get(blocks_key)
    return latent_problems(
        context.config,
        vae=context.path,
        channels=channels if isinstance(channels, int) else None,
        factor=2 ** (len(blocks) - 1) if isinstance(blocks, list) and blocks else None,
    )
