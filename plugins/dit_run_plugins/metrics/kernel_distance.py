"""kernel_distance: unbiased distance of sampled from held-out images in feature space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dit_run_plugins.metrics.feature_distance import FeatureDistanceMetric, FeatureOptions, References

if TYPE_CHECKING:
    from dit_run.settings import Config

__all__ = ["KernelDistance", "build"]


@dataclass(frozen=True, kw_only=True)
class KernelDistance(FeatureOptions):
    """Squared maximum mean discrepancy between features of sampled and held-out images; around 0 is best.

    Unbiased (Bińkowski et al. 2018), so prefer it for few images.
    """


def build(options: KernelDistance, *, config: Config, references: References) -> FeatureDistanceMetric:
    """Return the metric for a run of this config."""
    from dit_run_plugins.metrics.distances import kernel_distance

    return FeatureDistanceMetric("kernel_distance", options, config, references, kernel_distance)
