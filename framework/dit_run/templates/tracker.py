"""A tracker: writes one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dit_run import Component, Kind, hookimpl

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, kw_only=True)
class Example:
    """Writes one JSON object per logged step."""

    file: str = "example.jsonl"
    """Name of the file in the run folder."""


class ExampleTracker:
    command = ""  # shell command that shows the results, such as "tensorboard --logdir …"

    def __init__(self, path: Path, start_step: int) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.lines = [line for line in lines if json.loads(line)["step"] <= start_step]

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.lines.append(json.dumps({"step": step, **values}))

    def image(self, step: int, name: str, image: Image.Image) -> None: ...

    def text(self, step: int, name: str, text: str) -> None: ...

    def flush(self) -> None:
        self.path.write_text("".join(f"{line}\n" for line in self.lines), encoding="utf-8")

    def close(self) -> None:
        self.flush()


def build(options: Example, *, run_dir: Path, start_step: int) -> ExampleTracker:
    """Return the tracker; a run that continues at start_step drops the values of later steps."""
    return ExampleTracker(run_dir / options.file, start_step)


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.TRACKER, "example", Example, build)]
