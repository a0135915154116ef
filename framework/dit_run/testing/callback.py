"""The contract of a callback."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from dit_run.protocols import EVENTS, Callback, Progress, unknown_event
from dit_run.registry.components import Component, Kind
from dit_run.testing.contract_error import Check, Subject, check_all

__all__ = ["CHECKS", "check_callback"]


def check_callback(component: Component | str | Path, **options: Any) -> None:
    """Test a callback with these options, without network: its methods, and that they accept every event of a run.

    ``component`` is a Component, the type of an installed one, or the path of a plugin file. Raises ContractError, and
    InputError as the factory does.
    """
    check_all(Subject.of(Kind.CALLBACK, component, options), CHECKS)


def has_methods_that_are_called(subject: Subject) -> None:
    """Check that it handles at least one event, and that each on_ method is an event."""
    with tempfile.TemporaryDirectory() as folder:
        callback = subject.make(run_dir=Path(folder))
        fault = unknown_event(callback)
        if fault:
            subject.fail(fault)
        own = any(_overrides(callback, name) for name in EVENTS)
        subject.expect(own, f"it has none of the methods of a callback: {', '.join(EVENTS)}")


def _overrides(callback: object, name: str) -> bool:
    method = getattr(callback, name, None)
    return method is not None and getattr(method, "__func__", None) is not vars(Callback)[name]


def follows_a_run(subject: Subject) -> None:
    """Check that it accepts each event of a run in order; the checkpoint and the image are there."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        saved, image = _written(folder)
        callback = subject.make(run_dir=folder)
        for event, step, path in (
            ("on_train_start", 0, None),
            ("on_step_end", 1, None),
            ("on_checkpoint_saved", 2, saved),
            ("on_sample", 2, image),
            ("on_step_end", 2, None),
            ("on_train_end", 2, None),
        ):
            values = {"loss": 0.5} if event == "on_step_end" else {}
            try:
                getattr(callback, event, lambda progress: None)(Progress(step, 2, folder, values, path))
            except Exception as error:  # noqa: BLE001 (a plugin may raise anything)
                subject.fail(f"{event}(progress) raised {type(error).__name__}: {error}; a run reports it as a failure")


def _written(folder: Path) -> tuple[Path, Path]:
    """Write a checkpoint without files and an image into a run folder, and return their paths."""
    from PIL import Image

    saved, image = folder / "checkpoints" / "step-00000002", folder / "samples" / "step-00000002.png"
    saved.mkdir(parents=True)
    image.parent.mkdir()
    Image.new("RGB", (8, 8)).save(image)
    return saved, image


CHECKS: tuple[Check, ...] = (has_methods_that_are_called, follows_a_run)
