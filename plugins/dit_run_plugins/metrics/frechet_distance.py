"""frechet_distance: how far the drawn pictures' features are from those of held-out ones, as Gaussians."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dit_run_plugins.metrics.feature_distance import FeatureDistance, FeatureOptions, References, feature_distance

if TYPE_CHECKING:
    from dit_run.settings import Config

__all__ = ["FrechetDistance", "build"]


@dataclass(frozen=True, kw_only=True)
class FrechetDistance(FeatureOptions):
    """Fréchet distance (Heusel et al. 2017) between features of drawn and of held-out pictures: 0 is best. With
    features of CLIP or DINOv2 it follows what people see more closely than with Inception's (Stein et al. 2023)."""


def build(options: FrechetDistance, *, config: Config, references: References) -> FeatureDistance:
    """The metric for a run of this config."""
    from dit_run_plugins.metrics.distances import frechet_distance

    return feature_distance("frechet_distance", options, config, references, frechet_distance)
