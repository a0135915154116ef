"""A run of dit-run and its counterpart in a service, whose id is kept in the run folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dit_run.problems import InputError
from dit_run.protocols import LoggedStep
from dit_run.system.durable import write_atomic
from dit_run.system.json_files import read_object

if TYPE_CHECKING:
    from dit_run.settings import Config

__all__ = ["TrackedRun"]


@dataclass(frozen=True)
class TrackedRun:
    """The run that a tracker of a service gets, with a small file in its folder."""

    folder: Path
    start_step: int
    config: Config
    history: Callable[[], Iterable[LoggedStep]]
    file: str
    """Name of the tracker's file, which holds a JSON object."""

    @property
    def name(self) -> str:
        return self.folder.absolute().name

    def read(self) -> Mapping[str, Any]:
        """Return what an earlier process wrote; empty for a new run, and where nothing readable is there."""
        if self.start_step == 0:
            return {}
        try:
            return read_object(self.folder / self.file)
        except InputError:
            return {}

    def write(self, **values: Any) -> None:
        """Replace the file. Raises OSError."""
        write_atomic(self.folder / self.file, json.dumps(values, indent=2).encode() + b"\n")
