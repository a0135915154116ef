"""The guard of the work that only watches a run: its failure is reported and kept, and the run continues."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dit_run.compute.process_progress import ProcessLost
from dit_run.problems import DitRunError
from dit_run.registry.fault_attribution import plugin_fault
from dit_run.reporting import Reporter
from dit_run.runs.run_folder import RunFolder
from dit_run.system.signals import Interrupted
from dit_run.training.setup import StopSwitch
from dit_run.training.state import TrainState
from dit_run.training.watch_record import WatchRecord

__all__ = ["WatchGuard", "describe_failure"]

_PATIENCE = 1.0
"""Time that a callback or a tracker has after a signal to stop (seconds)."""
_CLOSING_PATIENCE = 10.0
"""Time that a tracker has to close after a signal to stop (seconds)."""


@dataclass
class WatchGuard:
    """Runs work that only watches. An exception of it goes to the record, the reporter and ``status.json``."""

    record: WatchRecord
    stop: StopSwitch
    folder: RunFolder
    reporter: Reporter
    state: TrainState

    @contextlib.contextmanager
    def long(self, work: str) -> Iterator[None]:
        """Guard work that a stop ends at once, by Interrupted, to be done again when the run continues.

        Raises ProcessLost: without the other processes the run cannot continue.
        """
        try:
            with self.stop.interrupting():
                yield
        except ProcessLost:
            raise
        except Exception as error:  # noqa: BLE001 (a failed watcher ends no run)
            self._keep(work, error)

    def short(self, work: str) -> contextlib.AbstractContextManager[None]:
        """Guard a call of a callback or a tracker, which a stop lets end unless it takes too long."""
        return self._patient(work, _PATIENCE)

    def closing(self, work: str) -> contextlib.AbstractContextManager[None]:
        """Guard the end of a tracker, which sends what is left to a service."""
        return self._patient(work, _CLOSING_PATIENCE)

    @contextlib.contextmanager
    def _patient(self, work: str, patience: float) -> Iterator[None]:
        try:
            with self.stop.interrupting(after=patience):
                yield
        except Interrupted:
            self._keep(work, DitRunError(f"it did not return within {patience:g} s of the signal to stop"))
        except Exception as error:  # noqa: BLE001 (a failed watcher ends no run)
            self._keep(work, error)

    def write(self) -> None:
        """Write the record to ``status.json``; a disk that fails is reported when a checkpoint is saved."""
        with contextlib.suppress(OSError):
            self.folder.write_status("running", step=self.state.step, record=self.record.to_dict())

    def _keep(self, work: str, error: Exception) -> None:
        text = describe_failure(error)
        if self.record.add_failure(work, text, self.state.step):
            self.reporter.notice(f"{work} failed after step {self.state.step}, and the run continues: {text}")
            self.write()


def describe_failure(error: Exception) -> str:
    """Return the text of an error, with its place where the error does not tell it."""
    if isinstance(error, DitRunError):
        return str(error)
    if fault := plugin_fault(error):
        return str(fault)
    at = traceback.extract_tb(error.__traceback__)[-1]
    said = "".join(traceback.format_exception_only(error)).strip()
    return f"{said} ({Path(at.filename).name}, line {at.lineno})"
