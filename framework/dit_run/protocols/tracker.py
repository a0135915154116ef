"""Trackers: numbers, images and texts of a run, logged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Tracker"]


class Tracker(Protocol):
    """``build(options, *, run_dir: Path, start_step: int) -> Tracker``: logs numbers and images.

    ``run_dir`` is the run folder, which exists. A run that continues after ``start_step`` optimizer steps (0 for a new
    run) gets a new tracker, which must hide what an earlier tracker wrote for later steps. Only the first process of a
    run has trackers. If a method raises OSError, because a disk is full or a service is out of reach, the run continues
    and the method is called again before the next call. The contract test refuses the network, so a tracker that needs
    a service has an option that keeps it offline.
    """

    command: str
    """Command that shows what was logged, printed at the start of a run; empty for none."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log named numbers after ``step`` optimizer steps, such as ``loss`` and ``validation/loss``.

        The names differ from step to step, and a value may be nan or inf.
        """
        ...

    def image(self, step: int, name: str, image: Image.Image) -> None:
        """Log an image, RGB: the grid of sample images, named ``samples``."""
        ...

    def text(self, step: int, name: str, text: str) -> None:
        """Log a text: the resolved config, as YAML, named ``config``, at step 0 of a new run."""
        ...

    def flush(self) -> None:
        """Write everything that was logged to disk; called before a checkpoint is committed."""
        ...

    def close(self) -> None:
        """Write everything to disk and release all resources; the last call."""
        ...
