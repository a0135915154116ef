"""A dataset: images of one colour, made when they are read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from dit_run import Component, Kind, hookimpl
from dit_run.options import PositiveInt
from dit_run.protocols import Sample

if TYPE_CHECKING:
    from PIL import Image

COLOURS = ("red", "green", "blue", "yellow", "black", "white")


@dataclass(frozen=True, kw_only=True)
class Example:
    """Images of one colour."""

    size: PositiveInt = 600
    """Number of samples."""


def build(options: Example, *, image_size: int) -> list[Sample]:
    """Return any sequence of Sample(key, captions, image); the image is a Path, or a function that makes it."""
    return [sample(index, image_size) for index in range(options.size)]


def sample(index: int, side: int) -> Sample:
    colour = COLOURS[index % len(COLOURS)]
    # The key must be unique, and the same on every machine. The image may have any size and mode.
    return Sample(f"example/{index}", (f"a {colour} image",), partial(plain_image, colour, side))


def plain_image(colour: str, side: int) -> Image.Image:
    from PIL import Image

    return Image.new("RGB", (side, side), colour)


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.DATASET, "example", Example, build)]
