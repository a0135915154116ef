"""Event files as TensorBoard reads them, written in the caller's thread: no event is ever half there and then more."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.text.plugin_data_pb2 import TextPluginData
from tensorboard.summary.writer.record_writer import RecordWriter

__all__ = ["EventFile"]

_PREFIX = "events.out.tfevents."


class EventFile:
    """A new event file in ``folder``, sorted after those that are there.

    Readers drop events of steps from ``first_step`` on that earlier files hold.
    """

    def __init__(self, folder: Path, *, first_step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / _next_name(folder)).open("xb", buffering=0)
        self._end = 0
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One float32 for each name."""
        self._summary(step, [Summary.Value(tag=name, simple_value=value) for name, value in values.items()])

    def image(self, step: int, name: str, image: Image.Image) -> None:
        """A picture, as PNG."""
        data = io.BytesIO()
        image.save(data, "PNG")
        picture = Summary.Image(
            height=image.height, width=image.width, colorspace=3, encoded_image_string=data.getvalue()
        )
        self._summary(step, [Summary.Value(tag=name, image=picture)])

    def text(self, step: int, name: str, text: str) -> None:
        """Markdown for the text tab."""
        plugin = SummaryMetadata.PluginData(plugin_name="text", content=TextPluginData(version=0).SerializeToString())
        tensor = TensorProto(
            dtype=DT_STRING,
            string_val=[text.encode()],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        )
        metadata = SummaryMetadata(plugin_data=plugin)
        self._summary(step, [Summary.Value(tag=f"{name}/text_summary", metadata=metadata, tensor=tensor)])

    def sync(self) -> None:
        """Everything written is on the disk when this returns."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Also twice."""
        self._file.close()

    def _summary(self, step: int, values: list[Summary.Value]) -> None:
        self._write(Event(step=step, summary=Summary(value=values)))

    def _write(self, event: Event) -> None:
        """Append a record whole; after a failure (a full disk) the file ends where it ended before."""
        event.wall_time = time.time()
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        data = record.getvalue()
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:]) or 0
        except OSError:
            self._file.truncate(self._end)
            self._file.seek(self._end)
            raise
        self._end += len(data)


def _next_name(folder: Path) -> str:
    """Readers take files in the order of their names: a time, which here never stands still."""
    times = [file.name.removeprefix(_PREFIX).partition(".")[0] for file in folder.glob(f"{_PREFIX}*")]
    latest = max((int(taken) for taken in times if taken.isdecimal()), default=0)
    return f"{_PREFIX}{max(int(time.time()), latest + 1):010d}.dit-run"
