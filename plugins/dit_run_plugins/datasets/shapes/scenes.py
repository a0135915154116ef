"""Scenes of captioned shapes: the value from which an image and its caption are made.

Only the standard library is imported, so that captions need neither numpy nor Pillow.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

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
"""Side of a single figure as a share of the image's side."""
PAIR_SIDE = 0.38
"""Side of each of two figures as a share of the image's side."""
RELATIONS = {"to the left of": (-1, 0), "to the right of": (1, 0), "above": (0, -1), "below": (0, 1)}
"""Direction (x to the right, y downwards) from the second figure to the first."""

SCENES_VERSION = 1
"""Version of the scenes and captions, raised when an index has another one."""
_JITTER_ONE, _JITTER_PAIR = 0.12, 0.03
"""Largest random shift of a figure's centre, for one figure and for two."""
_OFFSET = 0.23
"""Distance of each of two figures from the image's centre."""


@dataclass(frozen=True)
class Figure:
    """A coloured shape."""

    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """Content of a caption: one figure with a size, or two with a relation."""

    background: str
    figures: tuple[Figure, ...]
    size: str | None = None
    """``small`` or ``large``; for a single figure."""
    relation: str | None = None
    """Direction from the second figure to the first; for two figures."""

    @property
    def caption(self) -> str:
        if self.relation is None:
            return f"a {self.size} {self.figures[0]} on a {self.background} background"
        first, second = self.figures
        return f"a {first} {self.relation} a {second} on a {self.background} background"

    @classmethod
    def parse(cls, caption: str) -> Scene:
        """Return the scene that a caption describes. Raises ValueError for any other text."""
        if match := _ONE.fullmatch(caption):
            size, colour, shape, background = match.groups()
            return cls(background, (Figure(colour, shape),), size=size)
        if match := _TWO.fullmatch(caption):
            colour, shape, relation, colour2, shape2, background = match.groups()
            return cls(background, (Figure(colour, shape), Figure(colour2, shape2)), relation=relation)
        raise ValueError(f"{caption!r} is not of the form 'a small red circle on a black background'")


def _any(names: Iterable[str]) -> str:
    return f"({'|'.join(names)})"


_FIGURE, _GROUND = f"{_any(COLOURS)} {_any(SHAPES)}", f"on a {_any(BACKGROUNDS)} background"
_ONE = re.compile(f"a {_any(SIDES)} {_FIGURE} {_GROUND}")
_TWO = re.compile(f"a {_FIGURE} {_any(RELATIONS)} a {_FIGURE} {_GROUND}")


@dataclass(frozen=True)
class Placed:
    """A figure on the canvas: centre and side as shares of the image's side, y downwards."""

    figure: Figure
    x: float
    y: float
    side: float


def scene_at(index: int, seed: int, held_out: frozenset[Figure] = frozenset()) -> Scene:
    """Return the scene of image ``index``: one or two figures, equally often, none of them held out."""
    attempts = (_draw_scene(_uniforms(f"scene/{seed}/{index}/{attempt}")) for attempt in itertools.count())
    return next(scene for scene in attempts if held_out.isdisjoint(scene.figures))


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
    """Return the figures of image ``index`` with their places."""
    uniform = _uniforms(f"place/{seed}/{index}")
    if scene.size is not None:
        side, jitter, centres = SIDES[scene.size], _JITTER_ONE, [(0.5, 0.5)]
    else:
        right, down = RELATIONS[str(scene.relation)]
        side, jitter = PAIR_SIDE, _JITTER_PAIR
        centres = [(0.5 + sign * right * _OFFSET, 0.5 + sign * down * _OFFSET) for sign in (1, -1)]

    def near(centre: float) -> float:
        return centre + jitter * (2 * next(uniform) - 1)

    pairs = zip(scene.figures, centres, strict=True)
    return tuple(Placed(figure, near(x), near(y), side) for figure, (x, y) in pairs)


def held_out_pairs(share: float, seed: int) -> frozenset[Figure]:
    """Return the (colour, shape) pairs kept from training: the first ``share`` of all 32 in the order of a hash.

    Raises ValueError if no two pairs of different colours are left.
    """
    import hashlib  # loads OpenSSL

    pairs = [Figure(colour, shape) for colour in COLOURS for shape in SHAPES]
    pairs.sort(key=lambda pair: hashlib.blake2b(f"pair/{seed}/{pair}".encode()).digest())
    count = round(share * len(pairs))
    if len({pair.colour for pair in pairs[count:]}) < 2:
        raise ValueError(f"held_out_pairs {share} leaves {len(pairs) - count} of {len(pairs)} pairs, which is too few")
    return frozenset(pairs[:count])


def _uniforms(purpose: str) -> Iterator[float]:
    """Yield 16 independent random numbers in [0, 1), a pure function of the text."""
    import hashlib

    digest = hashlib.blake2b(purpose.encode()).digest()
    yield from (word / 2**32 for word in struct.unpack("<16I", digest))
