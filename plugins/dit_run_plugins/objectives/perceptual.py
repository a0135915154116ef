"""perceptual: the distance between features of the predicted and of the clean image, in pixel space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from dit_run.hub import Pretrained, on_hub
from dit_run.options import HubOrPath, acts_if
from dit_run.problems import Problem
from dit_run.protocols import NoisyBatch, ObjectiveLoss, PredictFor, RuleContext

if TYPE_CHECKING:
    import torch

    from dit_run_plugins.objectives.image_features import ImageFeatures

__all__ = ["Perceptual", "PerceptualLoss", "build", "sees_images"]


@dataclass(frozen=True, kw_only=True)
class Perceptual:
    """1 - cosine of the features of predicted and clean images, by a frozen vision model; for models of pixels.

    Use it next to `denoising`, in a list.
    """

    pretrained_model_name: Annotated[str, HubOrPath] = "facebook/dinov2-base"
    """Hub name or local folder of the vision model of transformers or timm that computes the features: a DINOv2, a
    CLIP, a SigLIP, a ViT or a network of convolutions. Models of timm need `pip install 'dit-run[timm]'`."""
    revision: Annotated[str | None, acts_if("pretrained_model_name", on_hub)] = None
    """Branch, tag or commit on the hub; null uses the newest."""


def build(options: Perceptual, *, device: torch.device, token_size: int) -> PerceptualLoss:
    """Return the objective, with features at each patch of the model."""
    from dit_run_plugins.objectives.image_features import ImageFeatures

    key = "objective (perceptual).pretrained_model_name"
    weights = Pretrained(options.pretrained_model_name, key, options.revision)
    return PerceptualLoss(ImageFeatures(weights, token_size).to(device))


class PerceptualLoss:
    """1 - the mean over positions of the cosine between features of the predicted and the clean image."""

    def __init__(self, network: ImageFeatures) -> None:
        self._network = network

    def __call__(self, batch: NoisyBatch, predict: PredictFor) -> ObjectiveLoss:
        from torch import no_grad
        from torch.nn.functional import cosine_similarity

        image = batch.scheduler.to_x0(predict().output, batch.noisy, batch.timesteps)
        with no_grad():
            wanted, _ = self._network.encode(batch.latents)
        found, _ = self._network.encode(image)
        return ObjectiveLoss(1 - cosine_similarity(found.float(), wanted.float(), dim=1).flatten(1).mean(1))


def sees_images(context: RuleContext) -> Iterator[Problem]:
    """Check that the model predicts images themselves, from which a clean one follows at every timestep."""
    config, related = context.config, ((*context.path, "type"),)
    if context.facts.latent_factor not in (None, 1) or config.vae.common.normalize is not None:
        yield Problem(
            "no-images-to-compare",
            f"objective perceptual compares images, and the model predicts latents of VAE {config.vae.type}",
            ("vae", "type"),
            related=related,
            help=("set vae: {type: identity}, or leave out this objective",),
        )
    if getattr(config.scheduler.options, "prediction_type", None) == "epsilon":
        yield Problem(
            "no-images-to-compare",
            "objective perceptual compares images, and scheduler.prediction_type epsilon gives none where all is noise",
            ("scheduler", "prediction_type"),
            related=related,
            help=("set scheduler.prediction_type: sample",),
        )
