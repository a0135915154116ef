"""The contact sheet of a check: images of every size as the model sees them, each with its crop and its caption."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dit_run.assembly.parts import Encoders
from dit_run.data.aspect_buckets import Buckets, size_name
from dit_run.data.images import image_size
from dit_run.data.samples import Samples
from dit_run.data.visits import Visit
from dit_run.model.conditioning import TextIds
from dit_run.protocols import TextStates
from dit_run.sampling.image_files import save_png
from dit_run.sampling.image_grid import grid

__all__ = ["write_sheet"]

_LEAST = 2
"""Images of each size (number)."""


def write_sheet(path: Path, samples: Samples, encoders: Encoders, count: int) -> None:
    """Write a grid of about ``count`` images, at least two of each size that has as many.

    The text below an image gives its size in pixels, the share of its area that is cropped, and the tokens that the
    model reads of its caption.
    """
    sizes = samples.by_size()
    of_size = max(_LEAST, count // len(sizes))
    tiles = [tile for each in sizes for tile in _tiles(each, encoders, min(of_size, len(each)))]
    texts = [text for _, text in tiles]
    save_png(path, grid([image for image, _ in tiles], texts), {"captions": "\n".join(texts)})


def _tiles(samples: Samples, encoders: Encoders, count: int) -> Iterator[tuple[Image.Image, str]]:
    """Yield the first images of samples that share a size, each with its text."""
    read = samples.read(range(count), samples.pixels)
    for visit, pixels, tokens in zip(read.visits, read.values, _tokens(read.visits, encoders), strict=True):
        yield Image.fromarray(pixels), f"{size_name(visit.size)}, {_crop(visit)}, {tokens} tokens: {visit.caption}"


def _crop(visit: Visit) -> str:
    height, width = image_size(visit.image)
    share = float(Buckets((visit.size,)).cropped(height, width, np.zeros(1, dtype=np.int64))[0])
    return f"{share:.0%} cropped"


def _tokens(visits: list[Visit], encoders: Encoders) -> list[int]:
    """Return the number of tokens that the model sees of each caption, of all text encoders together."""
    text = encoders.conditions([visit.caption for visit in visits], [False] * len(visits))
    each = (text,) if isinstance(text, TextStates | TextIds) else text
    lengths: list[int] = torch.cat([one.mask for one in each], dim=1).sum(1).tolist()
    return lengths
