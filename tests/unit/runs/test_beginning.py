"""How the run in a folder was begun, from its provenance."""

from __future__ import annotations

from pathlib import Path

import pytest

from dit_run.runs.beginning import forked_from, holds_run, was_begun_fresh
from dit_run.runs.run_folder import RunFolder


def test_an_empty_folder_holds_no_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    assert not holds_run(folder)
    (tmp_path / "checkpoints" / "step-00000001").mkdir()
    assert holds_run(folder)


@pytest.mark.parametrize(
    ("arguments", "fresh"),
    [(["x.yaml", "--fresh", "run"], True), (["x.yaml", "--fresh=run"], True), (["x.yaml", "a.b=--fresh"], False)],
)
def test_a_run_that_was_begun_with_fresh(tmp_path: Path, arguments: list[str], fresh: bool) -> None:
    folder = RunFolder(tmp_path)
    folder.write_provenance({"arguments": arguments}, run_id="one")
    assert holds_run(folder)
    assert was_begun_fresh(folder) == fresh
    assert forked_from(folder) is None


def test_a_fork_keeps_where_it_is_from_however_often_it_continues(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_provenance({"arguments": []}, run_id="two", origin={"run_id": "one", "step": 4})
    folder.write_provenance({"arguments": []}, run_id="two")
    assert forked_from(folder) == "one"
    assert folder.run_id() == "two"


def test_a_broken_record_says_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.provenance.write_text("{")
    assert forked_from(folder) is None
    assert not was_begun_fresh(folder)
