"""Metrics: scores of sampled images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL import Image


__all__ = ["Metric"]


class Metric(Protocol):
    """``build(options, *, config: Config, references) -> Metric``: scores images sampled from prompts.

    Metrics run at the end of a run, every ``validation.metrics_every_n_steps``, and in ``dit-run eval``. ``config`` is
    the whole checked config. ``references(count) -> list[(PIL image, caption)]`` returns at most ``count`` held-out
    samples, or training samples if none are held out, for metrics that compare with them; their images are RGB squares
    of ``data.image_size``, neither mirrored nor cropped at random. The core appends ``_train`` to the names of scores
    that use training samples as prompts or references. The factory raises InputError if the config does not fit the
    metric.
    """

    def prompts(self, count: int) -> Sequence[str] | None:
        """Return ``count`` prompts, or None for captions of held-out samples, of which there may be fewer."""
        ...

    @property
    def count(self) -> int:
        """Number of images to score; ``prompts`` is called with it."""
        ...

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Mapping[str, float]:
        """Return named finite scores of ``images``, RGB squares of ``data.image_size``, one image per prompt.

        The core puts the metric's type before each name: ``shapes/wholly_right``. A score may have its standard error
        as ``NAME/standard_error``, which ``dit-run eval`` prints next to it.
        """
        ...
