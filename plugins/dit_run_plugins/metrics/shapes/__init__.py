"""shapes: how well captioned-shapes images agree with their prompts."""

from __future__ import annotations

from dataclasses import dataclass

from dit_run.options import PositiveInt

__all__ = ["ShapesScore"]


@dataclass(frozen=True, kw_only=True)
class ShapesScore:
    """Share of captioned-shapes images that show what their prompts say."""

    count: PositiveInt = 200
    """Number of prompts, taken from the images after the dataset's last. If the dataset holds out pairs, the same
    number of prompts with such a pair is added."""
