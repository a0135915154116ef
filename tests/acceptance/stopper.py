"""A plugin file: a callback that asks its own run to stop, as a scheduler's signal would."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Any

from dit_run import Component, Kind, hookimpl


@dataclass(frozen=True, kw_only=True)
class Stopper:
    """Sends this process a signal after a step."""

    after: int = 0
    """The step; 0 sends none."""
    signal: str = "SIGTERM"
    """Its name."""


class Callback:
    def __init__(self, options: Stopper) -> None:
        self._options = options

    def on_step_end(self, progress: Any) -> None:
        if progress.step == self._options.after:
            os.kill(os.getpid(), signal.Signals[self._options.signal])


def build(options: Stopper) -> Callback:
    return Callback(options)


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.CALLBACK, "stopper", Stopper, build)]
