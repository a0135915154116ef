"""kernel_distance: how far the drawn pictures' features are from those of held-out ones, without bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dit_run_plugins.metrics.feature_distance import FeatureDistance, FeatureOptions, References, feature_distance

if TYPE_CHECKING:
    from dit_run.settings import Config

__all__ = ["KernelDistance", "build"]


@dataclass(frozen=True, kw_only=True)
class KernelDistance(FeatureOptions):
    """Squared maximum mean discrepancy (Bińkowski et al. 2018) between features of drawn and of held-out pictures:
    around 0 for pictures of one kind. Unbiased, so it is the one to take for few pictures."""


def build(options: KernelDistance, *, config: Config, references: References) -> FeatureDistance:
    """The metric for a run of this config."""
    from dit_run_plugins.metrics.distances import kernel_distance

    return feature_distance("kernel_distance", options, config, references, kernel_distance)
