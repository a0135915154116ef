"""The contract of a tracker."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from dit_run.protocols import Tracker
from dit_run.registry.components import Component, Kind
from dit_run.testing.contract_error import Check, Subject, check_all

__all__ = ["CHECKS", "check_tracker"]

_METHODS = ("log", "image", "text", "flush", "close")
_MARK = 314159.0
"""A value that is easy to find in a file."""


def check_tracker(component: Component | str | Path, **options: Any) -> None:
    """Test a tracker with these options in a new run folder and without network, so that it posts nothing.

    ``component`` is a Component, the type of an installed one, or the path of a plugin file. Raises ContractError, and
    InputError as the factory does.
    """
    check_all(Subject.of(Kind.TRACKER, component, options), CHECKS)


def _make(subject: Subject, folder: Path, start_step: int = 0) -> Tracker:
    tracker = subject.make(run_dir=folder, start_step=start_step)
    subject.methods(tracker, _METHODS, "add it, with an empty body if there is nothing to do")
    subject.attribute(tracker, "command", str, "Tracker")
    return tracker  # type: ignore[no-any-return]


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def takes_all_that_a_run_tells(subject: Subject) -> None:
    """Check that it accepts numbers of any name, a value that is not finite, images and texts."""
    with tempfile.TemporaryDirectory() as name:
        tracker = _make(subject, Path(name))
        calls: dict[str, tuple[Any, ...]] = {
            "log": (1, {"loss": 0.5, "validation/loss_ema": 0.25}),
            "log (other names at a later step)": (2, {"loss": 0.4, "learning_rate": 1e-4}),
            "log (a step without a loss)": (3, {"validation/loss": 0.25}),
            "log (a loss that is not finite)": (3, {"loss": math.nan}),
            "image": (3, "samples", Image.new("RGB", (8, 8))),
            "text": (3, "config", "data:\n  type: shapes\n"),
            "flush": (),
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


def forgets_later_steps(subject: Subject) -> None:
    """Check that a run that continues at a step drops the values of later steps."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = _make(subject, folder)
        first.log(1, {"loss": 0.5})
        first.log(2, {"loss": _MARK})
        first.close()
        second = _make(subject, folder, start_step=1)
        second.log(2, {"loss": 0.25})
        second.close()
        for path in sorted(folder.rglob("*")):
            subject.expect(
                not path.is_file() or b"314159" not in path.read_bytes(),
                f"{path.relative_to(folder)} still has what an earlier run logged for step 2 after the run continued "
                "at step 1; delete values later than start_step when the tracker is built",
            )


CHECKS: tuple[Check, ...] = (takes_all_that_a_run_tells, writes_when_it_is_flushed, forgets_later_steps)
