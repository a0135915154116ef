"""The contract of a tracker."""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from dit_run.protocols import LoggedStep, RunEnd, Tracker
from dit_run.registry.components import Component, Kind
from dit_run.settings import Config
from dit_run.testing.contract_error import Check, Subject, check_all
from dit_run.testing.tiny_run import tiny_config

__all__ = ["CHECKS", "check_tracker"]

_METHODS = ("log", "image", "text", "flush", "close")
_MARKS = (314159.0, 271828.0)
"""Values that are easy to find in a file."""


def check_tracker(component: Component | str | Path, **options: Any) -> None:
    """Test a tracker with these options in a new run folder and without network, so that it posts nothing.

    ``component`` is a Component, the type of an installed one, or the path of a plugin file. Raises ContractError, and
    InputError as the factory does.
    """
    check_all(Subject.of(Kind.TRACKER, component, options), CHECKS)


def _make(subject: Subject, folder: Path, start_step: int = 0) -> Tracker:
    tracker = subject.make(run_dir=folder, start_step=start_step, config=_config(), history=_history(start_step))
    subject.methods(tracker, _METHODS, "add it, with an empty body if there is nothing to do")
    subject.attribute(tracker, "command", str, "Tracker")
    return tracker  # type: ignore[no-any-return]


@functools.cache
def _config() -> Config:
    with tempfile.TemporaryDirectory() as folder:
        return tiny_config(Path(folder), {})


def _history(last: int) -> Callable[[], Iterator[LoggedStep]]:
    """Return the history of a run that logged the loss of each step."""
    return lambda: (LoggedStep(step, 0.0, {"loss": 0.5}, None) for step in range(1, last + 1))


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def takes_all_that_a_run_tells(subject: Subject) -> None:
    """Check that it accepts numbers of any name, a value that is not finite, images and texts."""
    with tempfile.TemporaryDirectory() as name:
        tracker = _make(subject, Path(name))
        image = Image.new("RGB", (8, 8))
        image.info["prompts"] = "a red circle\na blue square"
        calls: dict[str, tuple[Any, ...]] = {
            "log": (1, {"loss": 0.5, "validation/loss_ema": 0.25}),
            "log (other names at a later step)": (2, {"loss": 0.4, "learning_rate": 1e-4}),
            "log (a step without a loss)": (3, {"validation/loss": 0.25}),
            "log (a loss that is not finite)": (3, {"loss": math.nan}),
            "image": (3, "samples", image),
            "text": (3, "config", "data:\n  type: shapes\n"),
            "flush": (),
            **({"end": (RunEnd.FINISHED, {"loss": 0.4})} if hasattr(tracker, "end") else {}),
            "close": (),
        }
        for call, arguments in calls.items():
            try:
                getattr(tracker, call.split()[0])(*arguments)
            except Exception as error:  # noqa: BLE001 (a plugin may raise anything)
                subject.fail(
                    f"{call} raised {type(error).__name__}: {error}; a tracker must accept all that a run logs"
                )


def writes_when_it_is_flushed(subject: Subject) -> None:
    """Check that logged values are on disk after flush(), not only after close()."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tracker = _make(subject, folder)
        for step in range(1, 6):
            tracker.log(step, {"loss": 1 / step})
        tracker.flush()
        flushed = _bytes(folder)
        tracker.close()
        subject.expect(
            flushed > 0 or _bytes(folder) == 0,
            f"after flush() there is nothing in the run folder, and {_bytes(folder)} bytes after close(); "
            "write the logged values in flush()",
        )


def shows_each_step_once(subject: Subject) -> None:
    """Check that of a step that comes again, after the run continued from an earlier one, one value is kept."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = _make(subject, folder)
        first.log(1, {"loss": 0.5})
        first.log(2, {"loss": _MARKS[0]})
        first.close()
        second = _make(subject, folder, start_step=1)
        second.log(2, {"loss": _MARKS[1]})
        second.close()
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        first_in, second_in = (
            [path for path in files if f"{mark:.0f}".encode() in path.read_bytes()] for mark in _MARKS
        )
        if first_in and second_in:
            subject.fail(
                f"{first_in[0].relative_to(folder)} still has what an earlier run logged for step 2 after the run "
                "continued at step 1, and step 2 was logged again; delete values later than start_step when the "
                "tracker is built, or leave out steps that were logged before"
            )


CHECKS: tuple[Check, ...] = (takes_all_that_a_run_tells, writes_when_it_is_flushed, shows_each_step_once)
