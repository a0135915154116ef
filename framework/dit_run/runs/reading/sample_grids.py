"""The grids of samples of a run: their steps, their prompts, and the place of each image in a grid."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dit_run.runs.reading.run_files import RunFiles

__all__ = ["SampleGrid", "grid_file", "grid_steps", "read_grid"]

_NAME = re.compile(r"step-(\d{1,12})\.png", re.ASCII)
_MARGIN = 4
"""Pixels around each image, as :func:`dit_run.sampling.image_grid.grid` leaves them."""


@dataclass(frozen=True)
class SampleGrid:
    """Image of all samples of a step, which are square."""

    step: int
    path: Path
    prompts: tuple[str, ...]
    size: tuple[int, int]
    """Width and height (pixels)."""

    @property
    def columns(self) -> int:
        return math.ceil(math.sqrt(len(self.prompts)))

    def box(self, index: int) -> tuple[int, int, int, int] | None:
        """Return left, top, right and bottom of an image (pixels); None if the grid is not laid out as expected."""
        if not 0 <= index < len(self.prompts):
            return None
        rows = math.ceil(len(self.prompts) / self.columns)
        across, uneven = divmod(self.size[0] - _MARGIN, self.columns)
        down, uneven_rows = divmod(self.size[1] - _MARGIN, rows)
        side = across - _MARGIN
        if uneven or uneven_rows or side < 1 or down < across:
            return None
        left, top = _MARGIN + (index % self.columns) * across, _MARGIN + (index // self.columns) * down
        return left, top, left + side, top + side


def grid_steps(files: RunFiles) -> list[int]:
    """Return the steps that have a grid, in order."""
    return sorted(int(match[1]) for name in files.names("samples") if (match := _NAME.fullmatch(name)))


def grid_file(files: RunFiles, step: int) -> Path | None:
    """Return the file of a step's grid; None if there is none below the root."""
    return files.file("samples", f"step-{step:08d}.png")


def read_grid(files: RunFiles, step: int) -> SampleGrid | None:
    """Return the grid of a step from the header of its file; None if there is none that can be read."""
    from PIL import Image

    path = grid_file(files, step)
    if path is None:
        return None
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return SampleGrid(step, path, _prompts(image.info), image.size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _prompts(info: Mapping[Any, Any]) -> tuple[str, ...]:
    """Return the prompts in a file's metadata; an older release wrote them as lines only."""
    try:
        listed = json.loads(str(info["prompt_list"]))
        if isinstance(listed, list):
            return tuple(map(str, listed))
    except (KeyError, ValueError, RecursionError):
        pass
    return tuple(str(info.get("prompts", "")).splitlines())
