"""frechet_distance: distance of sampled from held-out images, as Gaussians in feature space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dit_run_plugins.metrics.feature_distance import FeatureDistanceMetric, FeatureOptions, References

if TYPE_CHECKING:
    from dit_run.settings import Config

__all__ = ["FrechetDistance", "build"]


@dataclass(frozen=True, kw_only=True)
class FrechetDistance(FeatureOptions):
    """Fréchet distance (Heusel et al. 2017) between features of sampled and held-out images; 0 is best.

    Features of CLIP or DINOv2 agree better with human judgement than those of Inception (Stein et al. 2023).
    """


def build(options: FrechetDistance, *, config: Config, references: References) -> FeatureDistanceMetric:
    """Return the metric for a run of this config."""
    from dit_run_plugins.metrics.distances import frechet_distance

    return FeatureDistanceMetric("frechet_distance", options, config, references, frechet_distance)
