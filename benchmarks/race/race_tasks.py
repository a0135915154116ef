"""The data of a race: the changes of a config that fix the images, its prompts, and the score of sampled images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dit_run import Config
from dit_run.assembly.prepare import build_data
from dit_run_plugins.datasets.shapes import Shapes
from dit_run_plugins.metrics.shapes import ShapesScore
from dit_run_plugins.metrics.shapes.metric import ShapesMetric
from dit_run_plugins.metrics.standard_errors import mean_with_error

__all__ = ["TASKS", "Emoji", "ShapesTask", "Task"]

FIXED = ("data.image_size=32", "data.num_samples=null", "data.buckets=null", "data.train_split=1.0")


class Task(Protocol):
    """Images, prompts and a score of one kind of data."""

    def changes(self) -> tuple[str, ...]:
        """Return the changes of a config that fix its data."""
        ...

    def prompts(self, config: Config, count: int) -> list[str]: ...

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> tuple[float, float]:
        """Return the score, 0 for chance and 1 at best, and its standard error."""
        ...


class ShapesTask:
    """Captioned shapes: the share of attributes of unseen prompts that the images show, above chance."""

    def __init__(self, folder: str | None = None) -> None:
        options = Shapes()
        self._metric = ShapesMetric(ShapesScore(), seed=options.seed, first=options.size, held_out=frozenset())

    def changes(self) -> tuple[str, ...]:
        return ("data.type=shapes", *FIXED, "data.seed=0", "data.size=100000", "data.held_out_pairs=0")

    def prompts(self, config: Config, count: int) -> list[str]:
        return self._metric.prompts(count)

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> tuple[float, float]:
        scores = self._metric.score(images, prompts)
        return scores["above_chance"], scores["above_chance/standard_error"]


class Emoji:
    """Named emoji, learnt by heart: the share of names whose image is nearest to the true one of all that are asked.

    Nearest is by the squared distance of pixels, so no network is needed. The prompts are names of training images.
    """

    def __init__(self, folder: str | None = None) -> None:
        if folder is None:
            raise SystemExit("race: --emoji names the folder of the images: PNG files and a metadata.jsonl with names")
        self._folder = folder
        self._true: NDArray[np.float32] = np.zeros((0, 0), dtype=np.float32)

    def changes(self) -> tuple[str, ...]:
        return ("data.type=custom", f"data.dataset_path={self._folder}", *FIXED)

    def prompts(self, config: Config, count: int) -> list[str]:
        samples = build_data(config).train.squares().without_augmentation()
        read = samples.read(range(min(count, len(samples))), samples.pixels)
        self._true = _vectors(read.values)
        return [visit.caption for visit in read.visits]

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> tuple[float, float]:
        drawn = _vectors([np.asarray(image) for image in images])
        distances = (self._true**2).sum(1) - 2 * drawn @ self._true.T
        right = distances.argmin(1) == np.arange(len(drawn))
        chance = 1 / len(drawn)
        share, error = mean_with_error(right)
        return (share - chance) / (1 - chance), error / (1 - chance)


def _vectors(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    return np.stack([image.reshape(-1) for image in images]).astype(np.float32) / 255


TASKS = {"shapes": ShapesTask, "emoji": Emoji}
