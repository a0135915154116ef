"""Reading a captioned-shapes picture back: what background, which figures, where.

Made for what a diffusion model paints, too: edges may be blurred and colours a little off. A figure counts only when it
is as well filled as its shape: a blob with ragged edges is no circle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dit_run_plugins.datasets.shapes.scenes import BACKGROUNDS, COLOURS, SHAPES, Figure, Placed

__all__ = ["Reading", "read"]

Floats = NDArray[np.float64]

_LARGEST = 64
"""Pictures are read at no more pixels a side than this."""
_SMALLEST_AREA = 0.012
"""Share of the picture below which a spot is no figure; a small triangle has 0.045."""
_LEAST_FIT = 0.72
"""Overlap with the ideal shape of the same area (intersection over union) below which a figure has no shape."""
_FILL = {"circle": np.pi / 4, "square": 1.0, "triangle": 0.5, "cross": 5 / 9}
"""Area of a shape with side 1."""
_POINTS = 4
"""Points a pixel along a side, for ideal shapes."""

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Reading:
    """What a picture shows; a figure whose shape is none of the four is ``unknown``."""

    background: str
    figures: tuple[Placed, ...]


def read(image: Image.Image) -> Reading:
    """The background and figures of a picture, largest figure first."""
    pixels = _pixels(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    ground = np.median(border, axis=0)
    labels, opacity = _label(pixels, ground)
    spots = [spot for spot in _spots(labels) if spot.mean() >= _SMALLEST_AREA]
    spots.sort(key=lambda spot: -int(spot.sum()))
    return Reading(
        _nearest(BACKGROUNDS, ground),
        tuple(_figure(spot, labels, opacity[labels[spot][0]]) for spot in spots),
    )


def _pixels(image: Image.Image) -> Floats:
    """float [s, s, 3] in 0 to 255."""
    image = image.convert("RGB")
    side = min(_LARGEST, max(image.size))
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float64)


def _nearest(palette: dict[str, tuple[int, int, int]], colour: Floats) -> str:
    return min(palette, key=lambda name: float(np.sum((colour - np.array(palette[name])) ** 2)))


def _label(pixels: Floats, ground: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The colour of each pixel, int [s, s], -1 for background; and how much of each colour it has, float [8, s, s].

    A pixel on an edge lies between the background and its figure's colour, so it goes to the nearest of the eight
    segments from background to colour, and to the figure where it has passed the middle.
    """
    palette = np.array(list(COLOURS.values()), dtype=np.float64)
    towards = palette - ground
    offset = pixels - ground
    opacity = np.einsum("hwc,kc->khw", offset, towards) / np.sum(towards**2, axis=1)[:, None, None]
    opacity = np.clip(opacity, 0.0, 1.0)
    missed = np.sum((offset - opacity[..., None] * towards[:, None, None]) ** 2, axis=-1)
    labels = missed.argmin(axis=0)
    coverage = np.take_along_axis(opacity, labels[None], axis=0)[0]
    return np.where(coverage >= 0.5, labels, -1), opacity


def _spots(labels: NDArray[np.int64]) -> Iterator[NDArray[np.bool_]]:
    """Connected pixels of one colour, as masks: each pixel takes the least number among neighbours of its colour."""
    numbers = np.arange(labels.size).reshape(labels.shape)
    while True:
        before = numbers
        numbers = numbers.copy()
        for one, other in (
            (np.s_[1:], np.s_[:-1]),
            (np.s_[:-1], np.s_[1:]),
            (np.s_[:, 1:], np.s_[:, :-1]),
            (np.s_[:, :-1], np.s_[:, 1:]),
        ):
            same = labels[one] == labels[other]
            numbers[one] = np.where(same, np.minimum(numbers[one], numbers[other]), numbers[one])
        if np.array_equal(numbers, before):
            break
    for number in np.unique(numbers[labels >= 0]):
        yield numbers == number


def _figure(spot: NDArray[np.bool_], labels: NDArray[np.int64], opacity: Floats) -> Placed:
    """The figure whose ideal shape, of the same area and centre of mass, fits the spot best."""
    side = spot.shape[0]
    coverage = np.where(spot | (_grown(spot) & (labels < 0)), opacity, 0.0)
    area = coverage.sum()
    rows, columns = (
        (np.arange(side) + 0.5) @ coverage.sum(axis=1) / area,
        (np.arange(side) + 0.5) @ coverage.sum(axis=0) / area,
    )
    fits = {}
    for shape in SHAPES:
        across = float(np.sqrt(area / _FILL[shape]))
        # A triangle's centre of mass lies a sixth of its height below the middle.
        middle = rows - across / 6 if shape == "triangle" else rows
        ideal = _ideal(shape, columns, middle, across, side)
        overlap = np.minimum(ideal, coverage).sum() / np.maximum(ideal, coverage).sum()
        fits[shape] = float(overlap), (float(columns), float(middle), across)
    best = max(fits, key=lambda shape: fits[shape][0])
    overlap, (x, y, across) = fits[best]
    colour = list(COLOURS)[labels[spot][0]]
    return Placed(Figure(colour, best if overlap >= _LEAST_FIT else UNKNOWN), x / side, y / side, across / side)


def _grown(spot: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The spot and the pixels beside it, where the outer half of its soft edge lies."""
    grown = spot.copy()
    grown[1:] |= spot[:-1]
    grown[:-1] |= spot[1:]
    grown[:, 1:] |= spot[:, :-1]
    grown[:, :-1] |= spot[:, 1:]
    return grown


def _ideal(shape: str, x: float, y: float, across: float, side: int) -> Floats:
    """Coverage [side, side] of a shape centred at column x, row y."""
    points = (np.arange(side * _POINTS) + 0.5) / _POINTS
    right, down = (points[None] - x) / across, (points[:, None] - y) / across
    inside = _inside(shape, right, down).reshape(side, _POINTS, side, _POINTS)
    return np.asarray(inside.mean(axis=(1, 3)))


def _inside(shape: str, right: Floats, down: Floats) -> NDArray[np.bool_]:
    """Whether points lie in a shape of side 1 around the origin."""
    box = (np.abs(right) <= 0.5) & (np.abs(down) <= 0.5)
    match shape:
        case "circle":
            return right**2 + down**2 <= 0.25
        case "triangle":
            return box & (np.abs(right) <= (down + 0.5) / 2)
        case "cross":
            return box & (np.minimum(np.abs(right), np.abs(down)) <= 1 / 6)
    return box
