"""The run folder must be one folder for all processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dit_run.compute.distributed import Processes
from dit_run.problems import InputError
from dit_run.runs.run_folder import RunFolder
from dit_run.training.shared_folder import check_shared


class Second(Processes):
    """The second of two processes; the first one owns a folder."""

    first_folder: RunFolder

    def on_first(self, work: Any) -> Any:
        return self.first_folder.claim(), "node-1"

    def largest(self, number: int) -> int:
        return number


def second(owned: RunFolder) -> Second:
    process = Second(1, 2)
    object.__setattr__(process, "first_folder", owned)
    return process


def test_a_folder_that_both_see_is_accepted(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run").lock():
        check_shared(RunFolder(tmp_path / "run"), second(RunFolder(tmp_path / "run")))


@pytest.mark.parametrize("locked", [True, False])
def test_a_folder_of_another_disk_is_refused(tmp_path: Path, locked: bool) -> None:
    """With a lock of its own, of an earlier run there, or without any."""
    other = RunFolder(tmp_path / "other")
    if locked:
        other.path.mkdir()
        (other.path / "lock").write_text("{}")
    with (
        RunFolder(tmp_path / "run").lock(),
        pytest.raises(
            InputError, match=r"process 1 does not see what process 0 on node-1 wrote there\. Put it on a disk"
        ),
    ):
        check_shared(other, second(RunFolder(tmp_path / "run")), patience=0)
