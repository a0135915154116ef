"""Shapes scores: does a captioned-shapes picture show what its prompt says?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice, permutations
from typing import TYPE_CHECKING

from dit_run.options import PositiveInt
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

if TYPE_CHECKING:
    from PIL import Image

    from dit_run.settings import Config

__all__ = ["ShapesMetric", "ShapesScore", "Verdict", "build", "chance", "judge", "scores"]


@dataclass(frozen=True, kw_only=True)
class ShapesScore:
    """Pictures of captioned shapes read back and compared with their prompts."""

    count: PositiveInt = 200
    """How many prompts are scored: those of pictures that come after the dataset's last. Where the dataset holds out
    pairs, as many again that show one."""


@dataclass(frozen=True)
class Verdict:
    """How a picture agrees with its prompt."""

    right: int
    """Attributes that are right."""
    of: int
    """Attributes that the prompt has: background, number of figures, each figure's colour and shape, and the size of a
    single figure or the relation of two."""

    @property
    def wholly(self) -> bool:
        return self.right == self.of


def judge(scene: Scene, background: str, figures: Sequence[Placed]) -> Verdict:
    """Compare what a picture shows with its scene. The figures are matched in the way that gets most right."""
    best = max(_matched(scene, order) for order in permutations(figures)) if len(figures) <= 3 else 0
    right = (background == scene.background) + (len(figures) == len(scene.figures)) + best
    return Verdict(right, 3 + 2 * len(scene.figures))


def _matched(scene: Scene, figures: Sequence[Placed]) -> int:
    """Right colours and shapes with the figures in this order, and whether size or relation is right."""
    pairs = list(zip(scene.figures, figures, strict=False))
    right = sum((a.colour == b.figure.colour) + (a.shape == b.figure.shape) for a, b in pairs)
    if scene.size is not None:
        return right + (len(figures) > 0 and scene.size == _size(figures[0]))
    return right + (len(figures) > 1 and scene.relation == _relation(figures[0], figures[1]))


def _size(placed: Placed) -> str:
    return min(SIDES, key=lambda size: abs(SIDES[size] - placed.side))


def _relation(first: Placed, second: Placed) -> str:
    """The relation whose direction the step from the second to the first follows most."""
    x, y = first.x - second.x, first.y - second.y
    return max(RELATIONS, key=lambda relation: x * RELATIONS[relation][0] + y * RELATIONS[relation][1])


@cache
def chance(seed: int = 0, pictures: int = 4000) -> float:
    """Mean share of attributes that are right when a true picture is judged by the prompt of another."""
    verdicts = [_mistaken(index, seed) for index in range(pictures)]
    return sum(verdict.right / verdict.of for verdict in verdicts) / len(verdicts)


def _mistaken(index: int, seed: int) -> Verdict:
    shown, asked = scene_at(2 * index, seed), scene_at(2 * index + 1, seed)
    return judge(asked, shown.background, place(shown, 2 * index, seed))


class ShapesMetric:
    """Scores on prompts that the dataset does not contain."""

    def __init__(self, options: ShapesScore, *, seed: int, first: int, held_out: frozenset[Figure]) -> None:
        self._options, self._seed, self._first, self._held_out = options, seed, first, held_out

    @property
    def count(self) -> int:
        return self._options.count * (2 if self._held_out else 1)

    def prompts(self, count: int) -> list[str]:
        """Captions of fresh pictures; with held-out pairs every second one shows such a pair."""
        if not self._held_out:
            return list(islice(self._fresh(), count))
        seen = (caption for caption in self._fresh() if not self._shows_held_out(caption))
        held = (caption for caption in self._fresh() if self._shows_held_out(caption))
        return list(islice(chain.from_iterable(zip(seen, held, strict=False)), count))

    def _fresh(self) -> Iterator[str]:
        return (scene_at(index, self._seed).caption for index in itertools.count(self._first))

    def _shows_held_out(self, prompt: str) -> bool:
        return not self._held_out.isdisjoint(Scene.parse(prompt).figures)

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, float]:
        """``wholly_right`` and ``attributes_right``, shares of pictures and of attributes; ``above_chance`` is the
        second on a scale where 0 is chance. On held-out pairs the same with ``held_out_`` before the name.

        Raises ValueError for a prompt that is no caption of this dataset.
        """
        from dit_run_plugins.metrics.shapes.image_reader import read

        seen: list[Verdict] = []
        held: list[Verdict] = []
        for image, prompt in zip(images, prompts, strict=True):
            scene, reading = Scene.parse(prompt), read(image)
            verdict = judge(scene, reading.background, reading.figures)
            (held if self._shows_held_out(prompt) else seen).append(verdict)
        return scores(seen) | {f"held_out_{name}": value for name, value in scores(held).items()}


def scores(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Means over pictures; nothing for none."""
    if not verdicts:
        return {}
    attributes = sum(verdict.right / verdict.of for verdict in verdicts) / len(verdicts)
    return {
        "wholly_right": sum(verdict.wholly for verdict in verdicts) / len(verdicts),
        "attributes_right": attributes,
        "above_chance": (attributes - chance()) / (1 - chance()),
    }


def build(options: ShapesScore, *, config: Config) -> ShapesMetric:
    """The metric for the dataset of this config; for another dataset than ``shapes`` its defaults hold."""
    from dit_run_plugins.datasets.shapes import Shapes

    dataset = config.data.options if isinstance(config.data.options, Shapes) else Shapes()
    held_out = held_out_pairs(dataset.held_out_pairs, dataset.seed)
    return ShapesMetric(options, seed=dataset.seed, first=dataset.size, held_out=held_out)
