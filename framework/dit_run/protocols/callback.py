"""Callbacks: objects that watch a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["EVENTS", "Callback", "Progress", "unknown_event"]


@dataclass(frozen=True)
class Progress:
    """The state of a run, as callbacks see it."""

    step: int
    """Optimizer steps done."""
    total_steps: int
    run_dir: Path
    values: Mapping[str, float] = field(default_factory=dict)
    """Values logged with this event: loss, learning rate and the like."""
    path: Path | None = None
    """The checkpoint or the image that was written."""


class Callback:
    """``build(options, *, run_dir: Path) -> Callback``: an object that watches a run and changes nothing of it.

    Subclass this class and override the methods that you need; an object of another class with some of these methods
    works as well. Any other method whose name begins with ``on_`` is an error, because no run would call it.

    ``run_dir`` is the run folder, which exists. Callbacks are called in the first process of a run only. An exception
    is reported with the plugin's name, and the run continues.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Raise TypeError for an unknown event, so that the plugin does not load."""
        super().__init_subclass__(**keywords)
        fault = unknown_event(cls)
        if fault:
            raise TypeError(fault)

    def on_train_start(self, progress: Progress) -> None:
        """Before the first step of this process; ``step`` counts the steps of earlier processes."""

    def on_step_end(self, progress: Progress) -> None:
        """After each optimizer step, its checkpoint and samples; ``values`` has what was logged, often nothing."""

    def on_checkpoint_saved(self, progress: Progress) -> None:
        """After a checkpoint is complete on disk, at ``path``.

        ``step`` is its own, which may be an earlier one than the last: see ``training.async_save``.
        """

    def on_sample(self, progress: Progress) -> None:
        """After a grid of sample images was written to ``path``, before ``on_step_end`` of the same step.

        A grid that had to wait for a disk that fails comes later, at the latest after the end of the run.
        """

    def on_train_end(self, progress: Progress) -> None:
        """After the last step; not called when a run is stopped or fails."""


EVENTS = tuple(name for name in vars(Callback) if name.startswith("on_"))
"""The methods of a callback."""


def unknown_event(callback: object) -> str | None:
    """Return a message about a method ``on_…`` of a callback, or of its class, that no run calls; None without one."""
    for name in dir(callback):
        if name.startswith("on_") and name not in EVENTS and callable(getattr(callback, name)):
            import difflib  # only for a wrong name

            owner = callback if isinstance(callback, type) else type(callback)
            near = difflib.get_close_matches(name, EVENTS, n=1)
            help_ = f" (did you mean {near[0]}()?)" if near else ""
            return (
                f"{owner.__name__}.{name}() is never called{help_}; the methods of a callback are {', '.join(EVENTS)}"
            )
    return None
