"""Captioned shapes: pictures of one or two coloured shapes, drawn on the fly, each a function of (seed, index).

The dataset needs no files. Whether a model follows such captions can be read back from its pictures exactly:
see :mod:`dit_run_plugins.metrics.shapes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from dit_run.options import NonNegativeInt, PositiveInt, Probability
from dit_run.problems import InputError
from dit_run.protocols import Sample
from dit_run_plugins.datasets.shapes.scenes import (
    BACKGROUNDS,
    COLOURS,
    Figure,
    Placed,
    Scene,
    held_out_pairs,
    place,
    scene_at,
)

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

__all__ = ["Shapes", "ShapesDataset", "build", "caption", "draw", "paint", "paint_at"]

_CROSS_ARM = 1 / 3
"""Width of a cross's arm as a share of its side."""


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Coloured shapes with exact captions, drawn on the fly: no files, any size."""

    seed: NonNegativeInt = 0
    """Picture i is a function of this seed and i alone."""
    size: PositiveInt = 100_000
    """How many pictures there are: indices 0 to size - 1. Scores use the indices after them."""
    held_out_pairs: Probability = 0.0
    """Share of the 32 (colour, shape) pairs that no picture shows, to measure how a model composes what it knows."""


class ShapesDataset:
    """Pictures 0 to size - 1."""

    def __init__(self, options: Shapes, image_size: int) -> None:
        self._options, self._image_size = options, image_size
        self._held_out = held_out_pairs(options.held_out_pairs, options.seed)

    def __len__(self) -> int:
        return self._options.size

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"picture {index} of {len(self)}")
        seed = self._options.seed
        scene = scene_at(index, seed, self._held_out)
        return Sample(
            key=f"shapes/{seed}/{index}",
            captions=(scene.caption,),
            image=partial(paint_at, scene, index, seed=seed, size=self._image_size),
        )


def build(options: Shapes, *, image_size: int) -> ShapesDataset:
    """The dataset at ``image_size`` pixels. Raises InputError when held_out_pairs leaves too little to draw."""
    try:
        return ShapesDataset(options, image_size)
    except ValueError as error:
        raise InputError(f"data.{error}; the most that works is about 0.9") from error


def caption(index: int, seed: int, held_out: frozenset[Figure] = frozenset()) -> str:
    """The caption of picture ``index``."""
    return scene_at(index, seed, held_out).caption


def draw(index: int, *, seed: int, size: int, held_out: frozenset[Figure] = frozenset()) -> Image.Image:
    """Picture ``index``, RGB, ``size`` pixels a side."""
    return paint_at(scene_at(index, seed, held_out), index, seed=seed, size=size)


def paint_at(scene: Scene, index: int, *, seed: int, size: int) -> Image.Image:
    """The scene with its figures where picture ``index`` has them."""
    return paint(scene.background, place(scene, index, seed), size=size)


def paint(background: str, figures: tuple[Placed, ...], *, size: int) -> Image.Image:
    """An RGB picture of ``size`` pixels a side; edges are averaged from 8 × 8 points a pixel (4 × 4 above 128 px)."""
    from PIL import Image, ImageDraw

    fine = 8 if size <= 128 else 4
    canvas = Image.new("RGB", (size * fine, size * fine), BACKGROUNDS[background])
    pen = ImageDraw.Draw(canvas)
    for figure in figures:
        _stroke(pen, figure, size * fine)
    return canvas.reduce(fine)


def _stroke(pen: ImageDraw.ImageDraw, placed: Placed, scale: int) -> None:
    """Fill one figure on a canvas of ``scale`` points a side."""
    colour = COLOURS[placed.figure.colour]
    left, top = (placed.x - placed.side / 2) * scale, (placed.y - placed.side / 2) * scale
    side = placed.side * scale
    # Pillow's boxes include their last point.
    right, bottom = left + side - 1, top + side - 1
    match placed.figure.shape:
        case "circle":
            pen.ellipse((left, top, right, bottom), fill=colour)
        case "square":
            pen.rectangle((left, top, right, bottom), fill=colour)
        case "triangle":
            pen.polygon([((left + right) / 2, top), (left, bottom), (right, bottom)], fill=colour)
        case "cross":
            inset = side * (1 - _CROSS_ARM) / 2
            pen.rectangle((left + inset, top, right - inset, bottom), fill=colour)
            pen.rectangle((left, top + inset, right, bottom - inset), fill=colour)
