"""A callback: writes the path of each checkpoint to a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dit_run import Component, Kind, hookimpl
from dit_run.protocols import Callback, Progress


@dataclass(frozen=True, kw_only=True)
class Example:
    """Writes the step and the path of each checkpoint to a file."""

    file: str = "example.txt"
    """Name of the file in the run folder."""


class ExampleCallback(Callback):
    """Overrides any of on_train_start, on_step_end, on_checkpoint_saved, on_sample and on_train_end."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_checkpoint_saved(self, progress: Progress) -> None:
        # progress.path is the folder of the checkpoint
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"step {progress.step} of {progress.total_steps}: {progress.path}\n")


def build(options: Example, *, run_dir: Path) -> ExampleCallback:
    return ExampleCallback(run_dir / options.file)


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.CALLBACK, "example", Example, build)]
