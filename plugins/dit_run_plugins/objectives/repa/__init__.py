"""repa: the states of a block, aligned with the features of a frozen vision model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dit_run.hub import Pretrained, on_hub
from dit_run.options import HubOrPath, PositiveInt, acts_if

__all__ = ["Repa"]


@dataclass(frozen=True, kw_only=True)
class Repa:
    """Representation alignment (Yu et al. 2025): 1 - cosine of projected states and features of the clean image.

    Use it next to `denoising`, in a list.
    """

    pretrained_model_name: Annotated[str, HubOrPath] = "facebook/dinov2-base"
    """Hub name or local folder of the vision model of transformers or timm that computes the features: a DINOv2, a
    CLIP, a SigLIP, a ViT or a network of convolutions. Models of timm need `pip install 'dit-run[timm]'`."""
    revision: Annotated[str | None, acts_if("pretrained_model_name", on_hub)] = None
    """Branch, tag or commit on the hub; null uses the newest."""
    tap: str | None = None
    """Name of the states inside the model that are aligned, such as `blocks.5`; null takes those at a third of the
    model's depth."""
    projector_width: PositiveInt = 2048
    """Width of the two hidden layers that project the states to the features; they are trained with the model."""

    def weights(self) -> Pretrained:
        """Return the files of the vision model."""
        return Pretrained(self.pretrained_model_name, "objective (repa).pretrained_model_name", self.revision)
