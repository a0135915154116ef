"""States of a vision model of timm at the positions of an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dit_run.hub import Pretrained
from dit_run_plugins.timm_models import build_timm

__all__ = ["TimmStates", "any_size"]


class TimmStates(nn.Module):
    """A model whose output is its last states at positions, [n, d, rows, columns], without class and other tokens.

    Raises ValueError for a model that has no such states.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        if not hasattr(network, "forward_intermediates"):
            raise ValueError(f"{type(network).__name__} of timm has no states at positions (forward_intermediates)")
        self.network = network

    @property
    def patch(self) -> int:
        """The side of a patch in pixels; 0 for a model whose states are not one for each patch."""
        size = getattr(getattr(self.network, "patch_embed", None), "patch_size", None)
        reduction = self.network.feature_info[-1]["reduction"]
        return int(reduction) if size == (reduction, reduction) else 0

    def forward(self, pixels: Tensor) -> Tensor:
        (states,) = self.network.forward_intermediates(pixels, indices=1, norm=True, intermediates_only=True)
        return states  # type: ignore[no-any-return]


def any_size(weights: Pretrained, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with which the model takes images of any size, where timm offers that."""
    with torch.device("meta"):
        network = build_timm(weights, config)
    return {"dynamic_img_size": True} if hasattr(network, "dynamic_img_size") else {}
