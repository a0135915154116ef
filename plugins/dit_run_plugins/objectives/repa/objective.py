"""Representation alignment: projected states of a block and features of the clean image point the same way."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dit_run.problems import InputError
from dit_run.protocols import NoisyBatch, ObjectiveLoss, PredictFor
from dit_run_plugins.objectives.image_features import ImageFeatures
from dit_run_plugins.objectives.repa import Repa

__all__ = ["RepaLoss", "build"]

_DEPTH = 3
"""Number of which the default tap has one part of all before it."""


def build(options: Repa, *, device: torch.device, taps: Mapping[str, int], token_size: int) -> RepaLoss:
    """Return the objective. Raises InputError for a model that does not offer the tap."""
    tap = _tap(options.tap, taps)
    features = ImageFeatures(options.weights(), token_size).to(device)
    return RepaLoss(tap, Projector(taps[tap], options.projector_width, features.latent_channels), features)


def _tap(name: str | None, taps: Mapping[str, int]) -> str:
    if name is None and taps:
        return list(taps)[(len(taps) - 1) // _DEPTH]
    if name is not None and name in taps:
        return name
    offered = f"which offers {', '.join(taps)}" if taps else "and this model offers none"
    raise InputError(f"objective repa reads states inside the model ({name or 'objective.tap is null'}), {offered}")


class Projector(nn.Module):
    """Three layers from the states of a block to features, for each position alone."""

    def __init__(self, width: int, hidden: int, features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, features)
        )

    def forward(self, states: Tensor) -> Tensor:
        """Return [n, features, rows, columns] for states [n, width, rows, columns]."""
        projected: Tensor = self.layers(states.movedim(1, -1)).movedim(-1, 1)
        return projected


class RepaLoss:
    """1 - the mean over positions of the cosine between projected states and features, of each sample."""

    def __init__(self, tap: str, projector: Projector, features: ImageFeatures) -> None:
        self.taps = (tap,)
        self.trained = projector
        self.features = features

    def __call__(self, batch: NoisyBatch, predict: PredictFor) -> ObjectiveLoss:
        assert batch.features is not None
        projected = self.trained(predict().taps[self.taps[0]]).float()
        cosine = F.cosine_similarity(projected, batch.features.float(), dim=1)
        return ObjectiveLoss(1 - cosine.flatten(1).mean(1))
