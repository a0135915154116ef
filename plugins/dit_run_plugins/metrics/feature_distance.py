"""The metric that compares features of sampled and of held-out images, shared by all distances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from dit_run.hub import Pretrained, on_hub
from dit_run.options import HubOrPath, acts_if, bounds
from dit_run.problems import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from dit_run.settings import Config
    from dit_run_plugins.metrics.standard_errors import Distance

__all__ = ["FeatureDistanceMetric", "FeatureOptions", "References", "model_name"]

_FEWEST = 2
"""Fewest images on each side of a distance (number)."""
References = Callable[[int], "list[tuple[Image.Image, str]]"]


@dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """Options of metrics that compare features of images."""

    pretrained_model_name: Annotated[str, HubOrPath] = "openai/clip-vit-base-patch32"
    """Hub name or local folder of the network that computes features: a CLIP, a SigLIP, a DINOv2, or another vision
    model of transformers, with its preprocessor_config.json, or of timm (`pip install 'dit-run[timm]'`). Part of the
    score's name."""
    revision: Annotated[str | None, acts_if("pretrained_model_name", on_hub)] = None
    """Branch, tag or commit on the hub; null uses the newest."""
    count: Annotated[int, bounds(ge=2)] = 1000
    """Number of sampled images, and of the held-out images they are compared with, if there are enough. Part of the
    score's name, because only scores of equal counts can be compared."""


class FeatureDistanceMetric:
    """Implements :class:`dit_run.protocols.Metric` with captions of held-out samples as prompts."""

    def __init__(
        self, kind: str, options: FeatureOptions, config: Config, references: References, distance: Distance
    ) -> None:
        """Find or download the files; weights are loaded when images are scored.

        Raises InputError if the files are missing or do not belong to a vision model, or if there are too few images to
        compare with.
        """
        from dit_run.compute.devices import choose_device
        from dit_run_plugins.metrics.vision_models import VisionModel

        weights = Pretrained(options.pretrained_model_name, f"metrics ({kind}).pretrained_model_name", options.revision)
        self._options, self._references, self._distance = options, references, distance
        self._model = VisionModel(weights, choose_device(config.training.device))
        self._refuse_few(kind, config)

    def _refuse_few(self, kind: str, config: Config) -> None:
        """Raise InputError where a distance has no value: it needs the spread of at least two images on each side."""
        found = len(self._references(_FEWEST))
        if found < _FEWEST:
            raise InputError(
                f"metrics ({kind}): the distance needs at least {_FEWEST} held-out images to compare with, and there "
                f"is {found} (data.train_split {config.data.common.train_split:g}); lower data.train_split, add "
                "images, or remove the metric"
            )

    @property
    def count(self) -> int:
        return self._options.count

    def prompts(self, count: int) -> None:
        return None

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, float]:
        """Return the distance as ``MODEL_nCOUNT``, or ``MODEL_nCOUNT_of_COUNT`` if there are fewer held-out images.

        Its standard error is that of new draws of both the sampled and the held-out images.
        """
        from dit_run_plugins.metrics.standard_errors import measure, named

        held_out = self._held_out
        name = f"{model_name(self._options.pretrained_model_name)}_n{len(images)}"
        name += "" if len(held_out) == len(images) else f"_of_{len(held_out)}"
        return named({name: measure(self._distance, self._model.features(images), held_out)})

    @cached_property
    def _held_out(self) -> NDArray[np.floating[Any]]:
        return self._model.features([image for image, _ in self._references(self._options.count)])


def model_name(model: str) -> str:
    """Return the last part of a hub name or a path."""
    return model.rstrip("/").rpartition("/")[2]
