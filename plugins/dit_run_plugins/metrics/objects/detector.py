"""A frozen object detector of transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dit_run.hub import TRANSFORMERS, Pretrained
from dit_run_plugins.frozen_networks import load_transformers_network
from dit_run_plugins.metrics.objects.requests import Detection
from dit_run_plugins.metrics.preprocessing import Preprocessing

__all__ = ["Detector"]

_CHUNK = 16
"""Images per call of the network."""
_NO_CLASS = "N/A"
"""Label of numbers that a detector leaves free."""


class Detector:
    """A network from images to objects, loaded for each call and then dropped."""

    def __init__(self, weights: Pretrained, device: torch.device) -> None:
        """Find or download the files. Raises InputError if they are missing or name fewer than two classes."""
        self._weights, self._device = weights, device
        labels = weights.object("config.json").get("id2label") or {}
        self._labels: dict[int, str] = {int(number): str(label) for number, label in labels.items()}
        self.classes = sorted(set(self._labels.values()) - {_NO_CLASS})
        """Names of all classes, without repetition."""
        self._preprocessing = Preprocessing.of(weights)
        self._files = weights.weight_files(TRANSFORMERS)
        if len(self.classes) < 2:
            raise weights.error(
                f"names {len(self.classes)} classes of objects in its config.json; two at least are needed"
            )

    def seen(self, images: Sequence[Image.Image], threshold: float) -> list[list[Detection]]:
        """Return the objects of each image with at least this confidence.

        Raises InputError for weights that do not belong to a detector.
        """
        from transformers import AutoModelForObjectDetection

        network: Any = load_transformers_network(
            AutoModelForObjectDetection, self._weights, self._files, "an object detector"
        ).to(self._device)
        chunks = (images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK))
        return [found for chunk in chunks for found in self._detect(network, chunk, threshold)]

    @torch.no_grad()
    def _detect(self, network: Any, images: Sequence[Image.Image], threshold: float) -> Iterator[list[Detection]]:
        pixels = torch.from_numpy(np.stack([self._preprocessing(image) for image in images])).to(self._device)
        output = network(pixel_values=pixels)
        confidences, classes = self._confidences(output.logits.float()).max(-1)
        for scores, numbers, boxes in zip(confidences, classes, output.pred_boxes.float(), strict=True):
            kept = scores >= threshold
            found = zip(scores[kept].tolist(), numbers[kept].tolist(), boxes[kept].tolist(), strict=True)
            yield [Detection(self._labels[number], score, tuple(box)) for score, number, box in found]

    def _confidences(self, logits: Tensor) -> Tensor:
        """Return the probability of each class [n, q, c]; a network with a class for nothing has one more logit."""
        if logits.shape[-1] == len(self._labels) + 1:
            return logits.softmax(-1)[..., :-1]
        return logits.sigmoid()
