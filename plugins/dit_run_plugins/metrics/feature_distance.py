"""Where features of pictures come from: a network that the user names, shared by the metrics that compare features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from dit_run.hub import Pretrained
from dit_run.options import HubOrPath, bounds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from dit_run.settings import Config
    from dit_run_plugins.metrics.vision_models import Vision

__all__ = ["FeatureDistance", "FeatureOptions", "References", "feature_distance", "score_name", "source_name"]

References = Callable[[int], "list[tuple[Image.Image, str]]"]
Distance = Callable[["NDArray[np.floating[Any]]", "NDArray[np.floating[Any]]"], float]


@dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """Options of metrics that compare features of pictures."""

    pretrained_model_name: Annotated[str, HubOrPath] = "openai/clip-vit-base-patch32"
    """Hub name or local folder of the network whose features are compared: a CLIP, a SigLIP, a DINOv2, or another
    vision model that transformers knows, with its preprocessor_config.json. Part of the score's name."""
    revision: str | None = None
    """Branch, tag or commit on the hub; null takes the newest."""
    count: Annotated[int, bounds(ge=2)] = 1000
    """How many pictures are drawn, and how many held-out ones they are compared with, if there are as many. Part of
    the score's name: only scores of equal counts compare."""


class FeatureDistance:
    """Implements :class:`dit_run.protocols.Metric`: pictures drawn from captions of held-out samples, compared with
    held-out pictures."""

    def __init__(self, options: FeatureOptions, vision: Vision, references: References, distance: Distance) -> None:
        self._options, self._vision, self._references, self._distance = options, vision, references, distance

    @property
    def count(self) -> int:
        return self._options.count

    def prompts(self, count: int) -> None:
        return None

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, float]:
        """The distance under ``SOURCE_nCOUNT``, or ``SOURCE_nCOUNT_of_COUNT`` where there are fewer or more references
        than pictures."""
        held_out = self._held_out
        name = score_name(self._options.pretrained_model_name, len(images), len(held_out))
        return {name: self._distance(self._vision.features(images), held_out)}

    @cached_property
    def _held_out(self) -> NDArray[np.floating[Any]]:
        return self._vision.features([image for image, _ in self._references(self._options.count)])


def feature_distance(
    kind: str, options: FeatureOptions, config: Config, references: References, distance: Distance
) -> FeatureDistance:
    """The metric of this type; files are found or downloaded now, weights are read when pictures are scored.

    Raises InputError when they are missing or belong to no vision model.
    """
    from dit_run.compute.distributed import choose_device
    from dit_run_plugins.metrics.vision_models import Vision

    weights = Pretrained(options.pretrained_model_name, f"metrics ({kind}).pretrained_model_name", options.revision)
    vision = Vision(weights, choose_device(config.training.device))
    return FeatureDistance(options, vision, references, distance)


def score_name(model: str, pictures: int, references: int) -> str:
    """``dinov2-base_n1000``: what the score is made of."""
    source = f"{source_name(model)}_n{pictures}"
    return source if pictures == references else f"{source}_of_{references}"


def source_name(model: str) -> str:
    """The last part of a hub's name or a path."""
    return model.rstrip("/").rpartition("/")[2]
