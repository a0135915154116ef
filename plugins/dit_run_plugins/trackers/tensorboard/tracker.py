"""The TensorBoard tracker.

It writes event files in the caller's thread, because torch's SummaryWriter stops for good at the first full disk and
leaves half an event, does not sync the disk, and names files so that restarts within a second are read out of order.
"""

from __future__ import annotations

import io
import shlex
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import summary

from dit_run.protocols import RunEnd
from dit_run.settings import Config
from dit_run_plugins.trackers.appended_file import AppendedFile
from dit_run_plugins.trackers.flat_values import Scalar, flat
from dit_run_plugins.trackers.tensorboard import TensorBoard

__all__ = ["TensorBoardTracker", "build"]

_PREFIX = "events.out.tfevents."


def build(options: TensorBoard, *, run_dir: Path, start_step: int, config: Config) -> TensorBoardTracker:
    """Return the tracker of a run that has done ``start_step`` steps; readers hide events of later steps."""
    tracker = TensorBoardTracker(run_dir / "tensorboard", start_step=start_step)
    if start_step == 0:
        tracker.hyperparameters(flat(config.to_dict()))
    return tracker


class TensorBoardTracker:
    """Writes a new event file, which sorts after the existing ones; each event is whole before its method returns.

    Readers drop events of earlier files from the step after ``start_step`` on.
    """

    def __init__(self, folder: Path, *, start_step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.command = _command(folder.parent)
        self._start_step = start_step
        self._file = AppendedFile(folder / _next_name(folder), "xb")
        self._write(Event(file_version="brain.Event:2"))
        first = start_step + 1 if start_step else 0
        self._write(Event(step=first, session_log=SessionLog(status=SessionLog.START)))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write all values as one event, so that a retry after a failure repeats none of them."""
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(step=step, summary=Summary(value=scalars)))

    def hyperparameters(self, values: Mapping[str, Scalar]) -> None:
        """Write a row of the HParams tab, whose scores are the last values of the curves."""
        _, start, _ = summary.hparams(dict(values), {})  # type: ignore[no-untyped-call]
        self._write(Event(summary=start))

    def image(self, step: int, name: str, image: Image.Image) -> None:
        """Write an image and, for the text tab, its prompts as a numbered list under ``samples/prompts``."""
        values = [*summary.image(name, np.asarray(image), dataformats="HWC").value]  # type: ignore[no-untyped-call]
        if prompts := image.info.get("prompts"):
            lines = "\n".join(f"1. {line}" for line in prompts.splitlines())
            values += summary.text(f"{name}/prompts", lines).value  # type: ignore[no-untyped-call]
        self._write(Event(step=step, summary=Summary(value=values)))

    def text(self, step: int, name: str, text: str) -> None:
        """Write Markdown for the text tab, except for texts that an earlier tracker of the run has written."""
        if self._start_step == 0 or step > self._start_step:
            self._write(Event(step=step, summary=summary.text(name, text)))  # type: ignore[no-untyped-call]

    def flush(self) -> None:
        self._file.sync()

    def end(self, state: RunEnd, values: Mapping[str, float]) -> None:
        """Note in the HParams tab that the run finished; any other run continues, and its end is noted then."""
        if state is RunEnd.FINISHED:
            _, _, end = summary.hparams({}, {})  # type: ignore[no-untyped-call]
            self._write(Event(summary=end))

    def close(self) -> None:
        self._file.close()

    def _write(self, event: Event) -> None:
        """Append a whole event; after a failure (a full disk) the file ends where it ended before."""
        event.wall_time = time.time()
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        self._file.write(record.getvalue())


def _command(run_dir: Path) -> str:
    """Return the command that shows a run under the name of its folder."""
    folder = run_dir.absolute()
    named = not any(mark in str(folder) for mark in ",:")  # they separate names and folders
    return (
        f"tensorboard --logdir_spec {shlex.quote(f'{folder.name}:{folder}')}"
        if named
        else (f"tensorboard --logdir {shlex.quote(str(folder))}")
    )


def _next_name(folder: Path) -> str:
    """Return a name with a time that is later than those of existing files, because readers sort files by name."""
    times = [file.name.removeprefix(_PREFIX).partition(".")[0] for file in folder.glob(f"{_PREFIX}*")]
    latest = max((int(each) for each in times if each.isdecimal()), default=0)
    return f"{_PREFIX}{max(int(time.time()), latest + 1):010d}.dit-run"
