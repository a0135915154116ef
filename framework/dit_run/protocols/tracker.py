"""Trackers: numbers, images and texts of a run, logged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["LoggedStep", "RunEnd", "Tracker"]


class RunEnd(StrEnum):
    """End of a run."""

    FINISHED = "finished"
    """At its last step."""
    INTERRUPTED = "interrupted"
    """By a request to stop; the same command continues it."""
    FAILED = "failed"
    """By an error."""


@dataclass(frozen=True)
class LoggedStep:
    """A step that was logged before."""

    step: int
    time: float
    """Time at which it was logged (seconds since 1970)."""
    values: Mapping[str, float]
    samples: Path | None
    """File of the grid of sample images; None for a step without one."""


class Tracker(Protocol):
    """``build(options, *, run_dir, start_step, config, history) -> Tracker``: logs numbers and images.

    ``run_dir``, a Path, is the run folder, which exists. ``config`` is the whole checked config; ``config.to_dict()``
    has its plain values, without secrets. A run that continues after ``start_step`` optimizer steps (0 for a new run)
    gets a new tracker, and its earlier process may have logged later steps, which come again. Each step must show once:
    the new tracker hides what an earlier one wrote for later steps, or, where a service takes nothing back, leaves them
    out when they come again. A tracker of a service continues the same remote run, whose id it keeps in a file of the
    run folder. ``history() -> Iterator[LoggedStep]`` yields what the run has logged up to ``start_step``, for a service
    that a kill or a failing network kept from getting all of it.

    Only the first process of a run has trackers. If a method raises OSError, because a disk is full or a service is out
    of reach, the run continues and the method is called again later, before the next call. The method should fail
    within seconds; the longer it takes, the later it is called again. Connect in the first call, not in the factory,
    whose errors end the run. The contract test refuses the network, so a tracker that needs a service has an option
    that keeps it offline.

    A tracker may have a method ``end(state: RunEnd, values: Mapping[str, float])``. It is called before ``close()``
    with the last value of everything that was logged; a killed process calls neither.
    """

    command: str
    """Command or address that shows what was logged, printed at the start of a run; empty for none."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log named numbers after ``step`` optimizer steps, such as ``loss`` and ``validation/loss``.

        The names differ from step to step, and a value may be nan or inf.
        """
        ...

    def image(self, step: int, name: str, image: Image.Image) -> None:
        """Log an image, RGB: the grid of sample images, named ``samples``.

        Its ``info["prompts"]`` has the prompts in their order, one a line. The values of the same step come later.
        """
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
