"""clip_score: agreement of sampled images with their captions, as measured by a CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from dit_run.hub import Pretrained, on_hub
from dit_run.options import HubOrPath, PositiveInt, acts_if
from dit_run_plugins.metrics.feature_distance import model_name

if TYPE_CHECKING:
    from PIL import Image

    from dit_run.settings import Config
    from dit_run_plugins.metrics.vision_models import ClipModel

__all__ = ["ClipScore", "ClipScoreMetric", "build"]


@dataclass(frozen=True, kw_only=True)
class ClipScore:
    """Mean cosine similarity of image and caption embeddings, at least 0, times 100.

    Hessel et al. 2021, with the weight that is usual in text-to-image work.
    """

    pretrained_model_name: Annotated[str, HubOrPath] = "openai/clip-vit-base-patch32"
    """Hub name or local folder of a CLIP with an image and a text encoder, a tokenizer and preprocessor_config.json.
    Part of the score's name."""
    revision: Annotated[str | None, acts_if("pretrained_model_name", on_hub)] = None
    """Branch, tag or commit on the hub; null uses the newest."""
    count: PositiveInt = 1000
    """Number of images, sampled from captions of held-out samples. Part of the score's name."""


class ClipScoreMetric:
    """Implements :class:`dit_run.protocols.Metric`."""

    def __init__(self, options: ClipScore, clip: ClipModel) -> None:
        self._options, self._clip = options, clip

    @property
    def count(self) -> int:
        return self._options.count

    def prompts(self, count: int) -> None:
        return None

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, float]:
        """Return the mean score, from 0 to 100, under the name ``MODEL_nCOUNT``, and its standard error."""
        from dit_run_plugins.metrics.standard_errors import mean_with_error, named

        cosines = self._clip.cosines(images, prompts)
        name = f"{model_name(self._options.pretrained_model_name)}_n{len(images)}"
        return named({name: mean_with_error(100 * cosines.clip(min=0))})


def build(options: ClipScore, *, config: Config) -> ClipScoreMetric:
    """Return the metric. Files are found or downloaded now; weights are loaded when images are scored.

    Raises InputError if the files are missing or do not belong to a CLIP.
    """
    from dit_run.compute.devices import choose_device
    from dit_run_plugins.metrics.vision_models import ClipModel

    weights = Pretrained(options.pretrained_model_name, "metrics (clip_score).pretrained_model_name", options.revision)
    return ClipScoreMetric(options, ClipModel(weights, choose_device(config.training.device)))
