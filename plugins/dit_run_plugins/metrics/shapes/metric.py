"""The shapes metric: attributes of a prompt that its image shows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice, permutations
from math import isfinite
from typing import TYPE_CHECKING

from dit_run_plugins.datasets.shapes import Shapes
from dit_run_plugins.datasets.shapes.scenes import (
    RELATIONS,
    SIDES,
    Figure,
    Placed,
    Scene,
    held_out_pairs,
    place,
    scene_at,
)
from dit_run_plugins.metrics.shapes import ShapesScore
from dit_run_plugins.metrics.shapes.scene_recognition import read_scene
from dit_run_plugins.metrics.standard_errors import mean_with_error, named

if TYPE_CHECKING:
    from PIL import Image

    from dit_run.settings import Config

__all__ = ["ShapesMetric", "Verdict", "build", "chance", "judge"]


@dataclass(frozen=True)
class Verdict:
    """Agreement of an image with its prompt."""

    right: int
    """Attributes that are right."""
    of: int
    """Attributes of the prompt: background, number of figures, each figure's colour and shape, and the size of a single
    figure or the relation of two."""

    @property
    def wholly(self) -> bool:
        return self.right == self.of


def judge(scene: Scene, background: str, figures: Sequence[Placed]) -> Verdict:
    """Compare an image's background and figures with a scene, matching figures in the order that gets most right."""
    best = max(_matched(scene, order) for order in permutations(figures)) if len(figures) <= 3 else 0
    right = (background == scene.background) + (len(figures) == len(scene.figures)) + best
    return Verdict(right, 3 + 2 * len(scene.figures))


def _matched(scene: Scene, figures: Sequence[Placed]) -> int:
    """Count right colours and shapes for the figures in this order, plus 1 if the size or relation is right."""
    pairs = list(zip(scene.figures, figures, strict=False))
    right = sum((a.colour == b.figure.colour) + (a.shape == b.figure.shape) for a, b in pairs)
    if scene.size is not None:
        return right + (len(figures) > 0 and scene.size == _size(figures[0]))
    return right + (len(figures) > 1 and scene.relation == _relation(figures[0], figures[1]))


def _size(placed: Placed) -> str:
    return min(SIDES, key=lambda size: abs(SIDES[size] - placed.side))


def _relation(first: Placed, second: Placed) -> str:
    """Return the relation whose direction is nearest to that from the second figure to the first."""
    x, y = first.x - second.x, first.y - second.y
    return max(RELATIONS, key=lambda relation: x * RELATIONS[relation][0] + y * RELATIONS[relation][1])


@cache
def chance(seed: int = 0, images: int = 4000) -> float:
    """Return the mean share of right attributes when true images are judged by the prompts of others."""
    verdicts = [_mismatch(index, seed) for index in range(images)]
    return sum(verdict.right / verdict.of for verdict in verdicts) / len(verdicts)


def _mismatch(index: int, seed: int) -> Verdict:
    shown, asked = scene_at(2 * index, seed), scene_at(2 * index + 1, seed)
    return judge(asked, shown.background, place(shown, 2 * index, seed))


class ShapesMetric:
    """Implements :class:`dit_run.protocols.Metric` with prompts that the dataset does not contain."""

    def __init__(self, options: ShapesScore, *, seed: int, first: int, held_out: frozenset[Figure]) -> None:
        self._options, self._seed, self._first, self._held_out = options, seed, first, held_out

    @property
    def count(self) -> int:
        return self._options.count * (2 if self._held_out else 1)

    def prompts(self, count: int) -> list[str]:
        """Return captions of unseen images; with held-out pairs, every second caption has such a pair."""
        if not self._held_out:
            return list(islice(self._captions(), count))
        seen = (caption for caption in self._captions() if not self._shows_held_out(caption))
        held = (caption for caption in self._captions() if self._shows_held_out(caption))
        return list(islice(chain.from_iterable(zip(seen, held, strict=False)), count))

    def _captions(self) -> Iterator[str]:
        return (scene_at(index, self._seed).caption for index in itertools.count(self._first))

    def _shows_held_out(self, prompt: str) -> bool:
        return not self._held_out.isdisjoint(Scene.parse(prompt).figures)

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, float]:
        """Return ``wholly_right`` and ``attributes_right``, the shares of images and of attributes that are right.

        ``above_chance`` is the latter, rescaled so that chance is 0. ``background_error`` is the mean absolute
        difference (0 to 255) of the backgrounds that are right from their true, flat colour. Each has its standard
        error. Scores of held-out pairs start with ``held_out_``.
        Raises ValueError for a prompt that is not a caption of this dataset.
        """
        seen: list[Verdict] = []
        held: list[Verdict] = []
        errors: list[float] = []
        for image, prompt in zip(images, prompts, strict=True):
            scene, shown = Scene.parse(prompt), read_scene(image)
            verdict = judge(scene, shown.background, shown.figures)
            (held if self._shows_held_out(prompt) else seen).append(verdict)
            if shown.background == scene.background and isfinite(shown.background_error):
                errors.append(shown.background_error)
        flat = named({"background_error": mean_with_error(errors)}) if errors else {}
        return _scores(seen) | flat | {f"held_out_{name}": value for name, value in _scores(held).items()}


def _scores(verdicts: Sequence[Verdict]) -> dict[str, float]:
    if not verdicts:
        return {}
    attributes = [verdict.right / verdict.of for verdict in verdicts]
    return named(
        {
            "wholly_right": mean_with_error([verdict.wholly for verdict in verdicts]),
            "attributes_right": mean_with_error(attributes),
            "above_chance": mean_with_error([(share - chance()) / (1 - chance()) for share in attributes]),
        }
    )


def build(options: ShapesScore, *, config: Config) -> ShapesMetric:
    """Return the metric for the dataset of this config, or for a default ``shapes`` if the dataset is another one."""
    dataset = config.data.options if isinstance(config.data.options, Shapes) else Shapes()
    held_out = held_out_pairs(dataset.held_out_pairs, dataset.seed)
    return ShapesMetric(options, seed=dataset.seed, first=dataset.size, held_out=held_out)
