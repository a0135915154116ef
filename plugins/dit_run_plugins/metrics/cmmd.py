"""cmmd: maximum mean discrepancy of sampled and held-out images in the embeddings of a CLIP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from dit_run.options import HubOrPath
from dit_run_plugins.metrics.feature_distance import FeatureDistanceMetric, FeatureOptions, References

if TYPE_CHECKING:
    from dit_run.settings import Config

__all__ = ["Cmmd", "build"]


@dataclass(frozen=True, kw_only=True)
class Cmmd(FeatureOptions):
    """CLIP maximum mean discrepancy (Jayasumana et al. 2024) of sampled and held-out images; 0 is best.

    It assumes no shape of the features, unlike `frechet_distance`, and agrees better with people. Times 1000.
    """

    pretrained_model_name: Annotated[str, HubOrPath] = "openai/clip-vit-large-patch14-336"
    """Hub name or local folder of the network that computes embeddings, with its preprocessor_config.json. Published
    numbers are of the default; other CLIPs, and other vision models of transformers or timm, give numbers of their
    own. Part of the score's name."""


def build(options: Cmmd, *, config: Config, references: References) -> FeatureDistanceMetric:
    """Return the metric for a run of this config."""
    from dit_run_plugins.metrics.distances import clip_discrepancy

    return FeatureDistanceMetric("cmmd", options, config, references, clip_discrepancy)
