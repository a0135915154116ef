"""The rule that image size, patch size and channels fit a VAE whose config.json is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dit_run.config.rule_checks import latent_problems
from dit_run.problems import Problem
from dit_run.protocols import Adjustment, RuleContext
from dit_run_plugins.vaes.pretrained_vae import other_class

__all__ = ["latents_fit"]


def latents_fit(
    context: RuleContext, vae_config: Mapping[str, Any], blocks_key: str, classes: Sequence[str] = ()
) -> Iterator[Problem | Adjustment]:
    """Refuse a class that is none of these, if there are any, and sizes and channels that do not fit.

    Values missing from the VAE's config are not checked.
    """
    if classes and "_class_name" in vae_config:
        error = other_class(context.options.weights(), vae_config, classes)
        if error is not None:
            yield Problem("folder-does-not-fit", str(error), (*context.path, "pretrained_model_name"))
            return
    channels, blocks = vae_config.get("latent_channels"), vae_config.get(blocks_key)
    yield from latent_problems(
        context.config,
        vae=context.path,
        channels=channels if isinstance(channels, int) else None,
        factor=2 ** (len(blocks) - 1) if isinstance(blocks, list) and blocks else None,
    )
