"""What a callback must be."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from dit_run.config.suggestions import did_you_mean
from dit_run.protocols import Progress
from dit_run.registry.components import Component, Kind
from dit_run.testing.contract_error import Check, Subject, check_all

__all__ = ["CHECKS", "EVENTS", "check_callback"]

EVENTS = ("on_train_start", "on_step_end", "on_checkpoint_saved", "on_sample", "on_train_end")


def check_callback(component: Component | str | Path, **options: Any) -> None:
    """Test a callback with these options: its methods are those that a run calls, and take what they are given.

    ``component`` is the Component, the type of an installed one, or the path of a plugin file. Raises ContractError,
    and InputError as the factory does.
    """
    check_all(Subject.of(Kind.CALLBACK, component, options), CHECKS)


def has_methods_that_are_called(subject: Subject) -> None:
    """At least one event, and no method that looks like one and is none."""
    with tempfile.TemporaryDirectory() as folder:
        callback = subject.make(run_dir=Path(folder))
        methods = [name for name in dir(callback) if name.startswith("on_")]
        for name in methods:
            help_ = "".join(f"; {line}" for line in did_you_mean(name, EVENTS))
            subject.expect(name in EVENTS, f"{name}() is never called{help_}; the events are {', '.join(EVENTS)}")
        subject.expect(bool(methods), f"it has no method that is called; the events are {', '.join(EVENTS)}")


def follows_a_run(subject: Subject) -> None:
    """It takes each event of a run in order."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        callback = subject.make(run_dir=folder)
        saved, picture = folder / "checkpoints" / "step-00000002", folder / "samples" / "step-00000002.png"
        for event, step, path in (
            ("on_train_start", 0, None),
            ("on_step_end", 1, None),
            ("on_step_end", 2, None),
            ("on_checkpoint_saved", 2, saved),
            ("on_sample", 2, picture),
            ("on_train_end", 2, None),
        ):
            values = {"loss": 0.5} if event == "on_step_end" else {}
            try:
                getattr(callback, event, lambda progress: None)(Progress(step, 2, folder, values, path))
            except Exception as error:  # noqa: BLE001 (a plugin may raise anything)
                subject.fail(f"{event}(progress) raised {type(error).__name__}: {error}; an exception ends the run")


CHECKS: tuple[Check, ...] = (has_methods_that_are_called, follows_a_run)
