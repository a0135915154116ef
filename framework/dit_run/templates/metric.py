"""A metric: the mean brightness of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING

from dit_run import Component, Kind, hookimpl
from dit_run.options import PositiveInt

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, kw_only=True)
class Example:
    """The mean brightness of sampled images, from 0 to 1."""

    count: PositiveInt = 16
    """Number of images to score."""


class ExampleMetric:
    def __init__(self, count: int) -> None:
        self.count = count

    def prompts(self, count: int) -> Sequence[str] | None:
        """Return None, which means the captions of held-out samples."""
        return None

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, float]:
        # one RGB image per prompt; brightness of a pixel is 0 to 255
        return {"brightness": mean(mean(image.convert("L").tobytes()) for image in images) / 255}


def build(options: Example) -> ExampleMetric:
    """Return the metric. Available keywords: config, references."""
    return ExampleMetric(options.count)


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.METRIC, "example", Example, build)]
