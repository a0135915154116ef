"""The captioned-shapes dataset and its images."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from PIL import Image, ImageDraw

from dit_run.digests import combined
from dit_run.problems import InputError
from dit_run.protocols import Sample
from dit_run_plugins.datasets.shapes import Shapes
from dit_run_plugins.datasets.shapes.scenes import (
    BACKGROUNDS,
    COLOURS,
    SCENES_VERSION,
    Placed,
    Scene,
    held_out_pairs,
    place,
    scene_at,
)

__all__ = ["ShapesDataset", "build", "paint", "paint_scene"]

_CROSS_ARM = 1 / 3
"""Width of a cross's arm as a share of its side."""


class ShapesDataset:
    """Images 0 to size - 1 with their captions."""

    def __init__(self, options: Shapes, image_size: int) -> None:
        self._options, self._image_size = options, image_size
        self._held_out = held_out_pairs(options.held_out_pairs, options.seed)

    def __len__(self) -> int:
        return self._options.size

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        seed = self._options.seed
        scene = scene_at(index, seed, self._held_out)
        image = partial(paint_scene, scene, index, seed=seed, size=self._image_size)
        return Sample(key=self._key(index), captions=(scene.caption,), image=image)

    @property
    def identity(self) -> str:
        """Digest of all that decides the scenes, so that a start after the first makes none of them."""
        options = self._options
        return combined(["shapes", SCENES_VERSION, options.seed, options.size, options.held_out_pairs])

    def keys(self) -> Iterator[str]:
        """Return the keys of all samples, for which no scene is made."""
        return map(self._key, range(len(self)))

    def _key(self, index: int) -> str:
        return f"shapes/{self._options.seed}/{index}"


def build(options: Shapes, *, image_size: int) -> ShapesDataset:
    """Return the dataset at ``image_size`` pixels. Raises InputError if held_out_pairs leaves too few pairs."""
    try:
        return ShapesDataset(options, image_size)
    except ValueError as error:
        raise InputError(f"data.{error}; set it to at most about 0.9") from error


def paint_scene(scene: Scene, index: int, *, seed: int, size: int) -> Image.Image:
    """Paint the scene with its figures at the places of image ``index``."""
    return paint(scene.background, place(scene, index, seed), size=size)


def paint(background: str, figures: tuple[Placed, ...], *, size: int) -> Image.Image:
    """Paint an RGB image of ``size`` pixels a side, averaged over 8 × 8 points per pixel (4 × 4 above 128 pixels)."""
    points = 8 if size <= 128 else 4
    canvas = Image.new("RGB", (size * points, size * points), BACKGROUNDS[background])
    pen = ImageDraw.Draw(canvas)
    for figure in figures:
        _paint_figure(pen, figure, size * points)
    return canvas.reduce(points)


def _paint_figure(pen: ImageDraw.ImageDraw, placed: Placed, scale: int) -> None:
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
