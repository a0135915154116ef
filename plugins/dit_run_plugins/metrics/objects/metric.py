"""The objects metric: requests for objects that an image answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dit_run.hub import Pretrained
from dit_run_plugins.metrics.feature_distance import model_name
from dit_run_plugins.metrics.objects import Objects
from dit_run_plugins.metrics.objects.requests import FORMS, Request, request_at
from dit_run_plugins.metrics.standard_errors import mean_with_error, named

if TYPE_CHECKING:
    from PIL import Image

    from dit_run.settings import Config
    from dit_run_plugins.metrics.objects.detector import Detector

__all__ = ["ObjectsMetric", "build"]


class ObjectsMetric:
    """Implements :class:`dit_run.protocols.Metric` with prompts of its own."""

    def __init__(self, options: Objects, detector: Detector) -> None:
        self._options, self._detector = options, detector

    @property
    def count(self) -> int:
        return self._options.count

    def prompts(self, count: int) -> list[str]:
        """Return the texts of the first requests."""
        return [request.text for request in self._requests(count)]

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, float]:
        """Return the share of images that are as asked as ``MODEL_nCOUNT``, and that of each form of request.

        Raises ValueError for prompts of another source.
        """
        requests = self._requests(len(prompts))
        if [request.text for request in requests] != list(prompts):
            raise ValueError("the prompts are not those of this metric")
        seen = self._detector.seen(images, self._options.threshold)
        right = [request.is_shown(found) for request, found in zip(requests, seen, strict=True)]
        name = f"{model_name(self._options.pretrained_model_name)}_n{len(images)}"
        scores = {name: mean_with_error(right)}
        for form in FORMS:
            own = [shown for request, shown in zip(requests, right, strict=True) if request.form == form]
            scores |= {f"{name}/{form}": mean_with_error(own)} if own else {}
        return named(scores)

    def _requests(self, count: int) -> list[Request]:
        return [request_at(index, self._detector.classes) for index in range(count)]


def build(options: Objects, *, config: Config) -> ObjectsMetric:
    """Return the metric. Files are found or downloaded now; weights are loaded when images are scored.

    Raises InputError if the files are missing or do not belong to a detector.
    """
    from dit_run.compute.devices import choose_device
    from dit_run_plugins.metrics.objects.detector import Detector

    weights = Pretrained(options.pretrained_model_name, "metrics (objects).pretrained_model_name", options.revision)
    return ObjectsMetric(options, Detector(weights, choose_device(config.training.device)))
