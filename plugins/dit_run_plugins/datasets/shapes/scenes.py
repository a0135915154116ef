"""Scenes: what a captioned-shapes picture shows, as one value that captions and pictures are made from.

Pure Python, no imports beyond the standard library: captions need neither numpy nor Pillow.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "RELATIONS",
    "SHAPES",
    "SIDES",
    "Figure",
    "Placed",
    "Scene",
    "held_out_pairs",
    "place",
    "scene_at",
]

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (240, 210, 50),
    "purple": (150, 60, 180),
    "orange": (245, 140, 30),
    "cyan": (60, 200, 210),
    "pink": (245, 130, 180),
}
BACKGROUNDS = {"black": (10, 10, 10), "white": (245, 245, 245), "gray": (128, 128, 128)}
SHAPES = ("circle", "square", "triangle", "cross")
SIDES = {"small": 0.30, "large": 0.48}
"""How far a single figure reaches across, as a share of the picture's side."""
PAIR_SIDE = 0.38
"""The same for each of two figures."""
RELATIONS = {"to the left of": (-1, 0), "to the right of": (1, 0), "above": (0, -1), "below": (0, 1)}
"""Where the first figure stands from the second: x to the right, y downwards."""

_WANDER_ONE, _WANDER_PAIR, _OFFSET = 0.12, 0.03, 0.23


@dataclass(frozen=True)
class Figure:
    """One coloured shape."""

    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """What a caption says: one figure with a size, or two with a relation."""

    background: str
    figures: tuple[Figure, ...]
    size: str | None = None
    """``small`` or ``large``; for a single figure."""
    relation: str | None = None
    """Where the first figure stands from the second; for two."""

    @property
    def caption(self) -> str:
        if self.relation is None:
            return f"a {self.size} {self.figures[0]} on a {self.background} background"
        first, second = self.figures
        return f"a {first} {self.relation} a {second} on a {self.background} background"

    @classmethod
    def parse(cls, caption: str) -> Scene:
        """The scene that a caption describes. Raises ValueError for any other text."""
        if match := _ONE.fullmatch(caption):
            return cls(match["background"], (Figure(match["colour"], match["shape"]),), size=match["size"])
        if match := _TWO.fullmatch(caption):
            figures = (Figure(match["colour"], match["shape"]), Figure(match["colour2"], match["shape2"]))
            return cls(match["background"], figures, relation=match["relation"])
        raise ValueError(f"{caption!r} does not read like 'a small red circle on a black background'")


def _pattern(text: str) -> re.Pattern[str]:
    names: dict[str, Iterable[str]] = {
        "size": SIDES,
        "colour": COLOURS,
        "shape": SHAPES,
        "relation": RELATIONS,
        "background": BACKGROUNDS,
    }
    for group in re.findall(r"{(\w+)}", text):
        choices = "|".join(names[group.rstrip("2")])
        text = text.replace(f"{{{group}}}", f"(?P<{group}>{choices})")
    return re.compile(text)


_ONE = _pattern("a {size} {colour} {shape} on a {background} background")
_TWO = _pattern("a {colour} {shape} {relation} a {colour2} {shape2} on a {background} background")


@dataclass(frozen=True)
class Placed:
    """A figure on the canvas: centre and side as shares of the picture's side, y downwards."""

    figure: Figure
    x: float
    y: float
    side: float


def scene_at(index: int, seed: int, held_out: frozenset[Figure] = frozenset()) -> Scene:
    """The scene of picture ``index``; one and two figures equally often. Scenes with a held-out figure are redrawn."""
    for attempt in itertools.count():
        scene = _draw_scene(_uniforms(f"scene/{seed}/{index}/{attempt}"))
        if held_out.isdisjoint(scene.figures):
            return scene
    raise AssertionError("unreachable: count() does not end")


def _draw_scene(uniform: Iterator[float]) -> Scene:
    def choose(options: tuple[str, ...]) -> str:
        return options[int(next(uniform) * len(options))]

    colours = tuple(COLOURS)
    single = next(uniform) < 0.5
    background = choose(tuple(BACKGROUNDS))
    first = Figure(choose(colours), choose(SHAPES))
    if single:
        return Scene(background, (first,), size=choose(tuple(SIDES)))
    second = Figure(choose(tuple(colour for colour in colours if colour != first.colour)), choose(SHAPES))
    return Scene(background, (first, second), relation=choose(tuple(RELATIONS)))


def place(scene: Scene, index: int, seed: int) -> tuple[Placed, ...]:
    """Where the figures of picture ``index`` stand."""
    uniform = _uniforms(f"place/{seed}/{index}")

    def near(centre: float, wander: float) -> float:
        return centre + wander * (2 * next(uniform) - 1)

    if scene.relation is None:
        assert scene.size is not None
        return (Placed(scene.figures[0], near(0.5, _WANDER_ONE), near(0.5, _WANDER_ONE), SIDES[scene.size]),)
    right, down = RELATIONS[scene.relation]
    return tuple(
        Placed(
            figure,
            near(0.5 + sign * right * _OFFSET, _WANDER_PAIR),
            near(0.5 + sign * down * _OFFSET, _WANDER_PAIR),
            PAIR_SIDE,
        )
        for figure, sign in zip(scene.figures, (1, -1), strict=True)
    )


def held_out_pairs(share: float, seed: int) -> frozenset[Figure]:
    """The (colour, shape) pairs kept from training: the first ``share`` of all 32 in the order of a hash.

    Raises ValueError when that leaves no two figures of different colours to draw.
    """
    pairs = [Figure(colour, shape) for colour in COLOURS for shape in SHAPES]
    import hashlib  # loads OpenSSL

    pairs.sort(key=lambda pair: hashlib.blake2b(f"pair/{seed}/{pair}".encode()).digest())
    count = round(share * len(pairs))
    if len({pair.colour for pair in pairs[count:]}) < 2:
        raise ValueError(
            f"held_out_pairs {share} leaves {len(pairs) - count} of {len(pairs)} pairs: too few to draw from"
        )
    return frozenset(pairs[:count])


def _uniforms(purpose: str) -> Iterator[float]:
    """Independent draws in [0, 1), a pure function of the text."""
    import hashlib

    digest = hashlib.blake2b(purpose.encode()).digest()
    yield from (word / 2**32 for word in struct.unpack("<16I", digest))
