"""Visits: the sample, caption and augmentation at a position of the data order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from PIL import Image

from dit_run.data.aspect_buckets import Size
from dit_run.data.bad_samples import BadSample
from dit_run.system.file_ranges import FilePart

__all__ = ["FetchedVisits", "Visit"]

T = TypeVar("T")


@dataclass(frozen=True)
class Visit:
    """The sample, caption and augmentation at one position."""

    index: int
    """Index of the sample in the dataset."""
    key: str
    caption: str
    """The text that the model reads."""
    image: Path | FilePart | Callable[[], Image.Image]
    flip: bool
    offset: float
    """Place of the crop along the side that stands out, in [0, 1)."""
    size: Size
    """Height and width of the pixels that are trained on."""
    part: int = 0
    """Number of the sample's part of a mixture."""
    scalars: tuple[float, ...] = ()
    """The numbers that the model takes."""


class FetchedVisits(NamedTuple, Generic[T]):
    """Visits at some positions with their values; bad samples are replaced."""

    visits: list[Visit]
    values: list[T]
    """The fetched value of each visit."""
    bad: tuple[BadSample, ...]
    """The samples that were skipped."""
