"""A plugin file: metrics, callbacks and trackers that fail, or that take for ever."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dit_run import Component, Kind, hookimpl


@dataclass(frozen=True, kw_only=True)
class Faulty:
    """A fault."""

    error: str = ""
    """Name of the exception: ValueError, MemoryError, OutOfMemoryError; empty for none."""
    signal: str = ""
    """Name of a signal that the process gets first; then the call takes for ever."""
    once: str = ""
    """File that the first fault writes, and whose presence prevents another one."""
    step: int = 0
    """The step at which it fails, for callbacks and trackers; 0 means all steps."""


class Fault:
    """Fails as its options say."""

    def __init__(self, options: Faulty) -> None:
        self.options = options

    def happen(self) -> None:
        options = self.options
        if options.once and Path(options.once).exists():
            return
        if options.once:
            Path(options.once).write_text("")
        if options.signal:
            os.kill(os.getpid(), signal.Signals[options.signal])
            time.sleep(60)
        if options.error:
            kinds: dict[str, Callable[[str], Exception]] = {
                "ValueError": ValueError,
                "MemoryError": MemoryError,
                "OutOfMemoryError": torch.OutOfMemoryError,
            }
            raise kinds[options.error]("the fault of a test")

    def at(self, step: int) -> None:
        if self.options.step in (0, step):
            self.happen()


class Metric(Fault):
    count = 2

    def prompts(self, count: int) -> None:
        return None

    def score(self, images: Sequence[Any], prompts: Sequence[str]) -> Mapping[str, float]:
        self.happen()
        return {"images": float(len(images))}


class Callback(Fault):
    def on_step_end(self, progress: Any) -> None:
        self.at(progress.step)


class Tracker(Fault):
    command = ""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.at(step)

    def image(self, step: int, name: str, image: Any) -> None: ...

    def text(self, step: int, name: str, text: str) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


@hookimpl
def dit_run_components() -> list[Component]:
    return [
        Component(Kind.METRIC, "faulty", Faulty, lambda options: Metric(options)),
        Component(Kind.CALLBACK, "faulty", Faulty, lambda options: Callback(options)),
        Component(Kind.TRACKER, "faulty", Faulty, lambda options: Tracker(options)),
    ]
