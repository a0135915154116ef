"""TensorBoard: curves, pictures and the config under the run folder's ``tensorboard``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

    from dit_run_plugins.trackers.tensorboard.tracker import EventFile

__all__ = ["TensorBoard", "TensorBoardTracker", "build"]


@dataclass(frozen=True, kw_only=True)
class TensorBoard:
    """Curves, sample grids and the resolved config, for `tensorboard --logdir`."""


class TensorBoardTracker:
    """Writes each value before :meth:`log` returns; :meth:`flush` puts it on the disk."""

    def __init__(self, events: EventFile, folder: Path, start_step: int) -> None:
        self._events, self._start_step = events, start_step
        self.command = f"tensorboard --logdir {shlex.quote(str(folder))}"

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._events.scalars(step, values)

    def image(self, step: int, name: str, image: Image.Image) -> None:
        self._events.image(step, name, image)

    def text(self, step: int, name: str, text: str) -> None:
        """What an earlier tracker of the run has written still shows, and is not written again."""
        if self._start_step == 0 or step > self._start_step:
            self._events.text(step, name, text)

    def flush(self) -> None:
        self._events.sync()

    def close(self) -> None:
        self._events.close()


def build(options: TensorBoard, *, run_dir: Path, start_step: int) -> TensorBoardTracker:
    """The tracker of a run that has done ``start_step`` steps; what was written for later ones no longer shows."""
    from dit_run_plugins.trackers.tensorboard.tracker import EventFile

    folder = run_dir / "tensorboard"
    events = EventFile(folder, first_step=start_step + 1 if start_step else 0)
    return TensorBoardTracker(events, folder, start_step)
