"""Reading the scene that a captioned-shapes image shows: its background and its figures with their places.

Images from a diffusion model are read, too: edges may be blurred and colours slightly off. A figure has a shape only if
it fills that shape well: a blob with ragged edges is not a circle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dit_run_plugins.datasets.shapes.scenes import BACKGROUNDS, COLOURS, SHAPES, Figure, Placed

__all__ = ["ShownScene", "read_scene"]

Floats = NDArray[np.float64]

_LARGEST = 64
"""Side (pixels) to which larger images are reduced."""
_SMALLEST_AREA = 0.012
"""Share of the image below which a region is not a figure; a small triangle has 0.045."""
_LEAST_FIT = 0.72
"""Overlap (intersection over union) with the ideal shape of the same area below which a figure has no shape."""
_FILL = {"circle": np.pi / 4, "square": 1.0, "triangle": 0.5, "cross": 5 / 9}
"""Area of a shape with side 1."""
_POINTS = 4
"""Points per pixel along a side, for ideal shapes."""
_NEIGHBOURS = (
    (np.s_[1:], np.s_[:-1]),
    (np.s_[:-1], np.s_[1:]),
    (np.s_[:, 1:], np.s_[:, :-1]),
    (np.s_[:, :-1], np.s_[:, 1:]),
)
"""Slices of an image and of the same image moved by one pixel, in four directions."""

UNKNOWN = "unknown"


@dataclass(frozen=True)
class ShownScene:
    """Background and figures of an image; a figure of any other shape than the four is ``unknown``."""

    background: str
    figures: tuple[Placed, ...]
    background_error: float
    """Mean absolute difference (0 to 255) of the background's pixels from its true colour, edges of figures left out;
    nan without such pixels."""


def read_scene(image: Image.Image) -> ShownScene:
    """Return the background and figures of an image, largest figure first."""
    pixels = _pixels(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    background = np.median(border, axis=0)
    labels, opacity = _label(pixels, background)
    regions = [region for region in _regions(labels) if region.mean() >= _SMALLEST_AREA]
    regions.sort(key=lambda region: -int(region.sum()))
    name = _nearest(BACKGROUNDS, background)
    return ShownScene(
        name,
        tuple(_figure(region, labels, opacity[labels[region][0]]) for region in regions),
        _error(pixels[~_grown(_grown(labels >= 0))], BACKGROUNDS[name]),
    )


def _pixels(image: Image.Image) -> Floats:
    """Return float [s, s, 3] from 0 to 255."""
    image = image.convert("RGB")
    side = min(_LARGEST, max(image.size))
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float64)


def _nearest(palette: dict[str, tuple[int, int, int]], colour: Floats) -> str:
    return min(palette, key=lambda name: float(np.sum((colour - np.array(palette[name])) ** 2)))


def _error(pixels: Floats, colour: tuple[int, int, int]) -> float:
    """Return the mean absolute difference of pixels [n, 3] from a colour; nan for no pixels."""
    return float(np.abs(pixels - np.array(colour)).mean()) if len(pixels) else float("nan")


def _label(pixels: Floats, background: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return each pixel's colour number, int [s, s], -1 for background, and colour shares, float [8, s, s].

    A pixel on an edge lies between the background and its figure's colour. It belongs to the nearest of the eight
    segments from background to colour, and to the figure if it is past the middle.
    """
    palette = np.array(list(COLOURS.values()), dtype=np.float64)
    towards = palette - background
    offset = pixels - background
    opacity = np.einsum("hwc,kc->khw", offset, towards) / np.sum(towards**2, axis=1)[:, None, None]
    opacity = np.clip(opacity, 0.0, 1.0)
    distance = np.sum((offset - opacity[..., None] * towards[:, None, None]) ** 2, axis=-1)
    labels = distance.argmin(axis=0)
    coverage = np.take_along_axis(opacity, labels[None], axis=0)[0]
    return np.where(coverage >= 0.5, labels, -1), opacity


def _regions(labels: NDArray[np.int64]) -> Iterator[NDArray[np.bool_]]:
    """Yield connected pixels of one colour as masks: each pixel takes the least number among equal neighbours."""
    numbers, before = np.arange(labels.size).reshape(labels.shape), None
    while before is None or not np.array_equal(numbers, before):
        before = numbers
        numbers = numbers.copy()
        for here, there in _NEIGHBOURS:
            same = labels[here] == labels[there]
            numbers[here] = np.where(same, np.minimum(numbers[here], numbers[there]), numbers[here])
    for number in np.unique(numbers[labels >= 0]):
        yield numbers == number


def _figure(region: NDArray[np.bool_], labels: NDArray[np.int64], opacity: Floats) -> Placed:
    """Return the figure whose ideal shape, of the same area and centre of mass, fits the region best."""
    side = region.shape[0]
    coverage = np.where(region | (_grown(region) & (labels < 0)), opacity, 0.0)
    area = coverage.sum()
    y, x = (float((np.arange(side) + 0.5) @ coverage.sum(axis=axis) / area) for axis in (1, 0))
    fits = []
    for shape in SHAPES:
        across = float(np.sqrt(area / _FILL[shape]))
        # A triangle's centre of mass lies a sixth of its height below the middle.
        middle = y - across / 6 if shape == "triangle" else y
        ideal = _ideal(shape, x, middle, across, side)
        overlap = float(np.minimum(ideal, coverage).sum() / np.maximum(ideal, coverage).sum())
        fits.append((overlap, shape if overlap >= _LEAST_FIT else UNKNOWN, middle, across))
    _, shape, y, across = max(fits, key=lambda fit: fit[0])
    return Placed(Figure(list(COLOURS)[labels[region][0]], shape), x / side, y / side, across / side)


def _grown(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the region with its neighbours, where the outer half of a soft edge lies."""
    grown = region.copy()
    for here, there in _NEIGHBOURS:
        grown[here] |= region[there]
    return grown


def _ideal(shape: str, x: float, y: float, across: float, side: int) -> Floats:
    """Return the coverage [side, side] of a shape centred at column x, row y."""
    points = (np.arange(side * _POINTS) + 0.5) / _POINTS
    right, down = (points[None] - x) / across, (points[:, None] - y) / across
    inside = _inside(shape, right, down).reshape(side, _POINTS, side, _POINTS)
    return np.asarray(inside.mean(axis=(1, 3)))


def _inside(shape: str, right: Floats, down: Floats) -> NDArray[np.bool_]:
    """Return True for the points that lie in a shape of side 1 around the origin."""
    box = (np.abs(right) <= 0.5) & (np.abs(down) <= 0.5)
    match shape:
        case "circle":
            return right**2 + down**2 <= 0.25
        case "triangle":
            return box & (np.abs(right) <= (down + 0.5) / 2)
        case "cross":
            return box & (np.minimum(np.abs(right), np.abs(down)) <= 1 / 6)
    return box
