"""Changes since a checkpoint: changed plugins are refused by name, machines and libraries are reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dit_run.problems import InputError
from dit_run.runs.checkpoint.disk_space import room_notice
from dit_run.training.resume_checks import changed_machine, changed_plugins, refuse_changed_plugins


def record(digest: str, section: str = "optimizer", **facts: Any) -> dict[str, Any]:
    whole = {"component": "optimizer.lion", "plugin": "lion", "distribution": "my-lion", "version": "1.0"}
    return {"section": section, **whole, "digest": digest * 64, **facts}


def test_the_same_plugins_are_no_change() -> None:
    refuse_changed_plugins([record("a")], [record("a")])


def test_a_changed_plugin_is_refused_by_name() -> None:
    with pytest.raises(InputError) as caught:
        refuse_changed_plugins([record("a")], [record("b", version="1.1")])
    assert str(caught.value).splitlines() == [
        "plugins changed since this run's checkpoint:",
        "  optimizer (optimizer.lion): my-lion 1.0 (aaaaaaaaaaaa) -> my-lion 1.1 (bbbbbbbbbbbb)",
        "Restore them, continue anyway with --allow-changed-plugins, or start another run with --fresh DIR",
    ]


def test_a_file_s_record_is_named_by_its_plugin() -> None:
    before, now = (record(digest, distribution=None, version=None, plugin="lion.py") for digest in "ab")
    assert changed_plugins([before], [now]) == [
        "optimizer (optimizer.lion): lion.py (aaaaaaaaaaaa) -> lion.py (bbbbbbbbbbbb)"
    ]


def test_other_libraries_threads_and_processors_are_reported() -> None:
    before = {"processor": "P4", "threads": 2, "versions": {"torch": "2.9", "numpy": "2.0", "graphics_card": "A"}}
    now = {"processor": "P5", "threads": 1, "versions": {"torch": "2.10", "numpy": "2.0", "pillow": "12"}}
    assert [line.split(":")[0] for line in changed_machine(before, now)] == [
        "processor was P4 and is P5",
        "threads was 2 and is 1",
        "torch was 2.9 and is 2.10",
        "graphics card was A and is None",
        "pillow was None and is 12",
    ]


def test_the_same_machine_is_not_reported() -> None:
    same = {"processor": "P4", "threads": 2, "versions": {"torch": "2.9"}}
    assert changed_machine(same, same) == []


def test_checkpoints_that_fit_need_no_warning(tmp_path: Path) -> None:
    assert room_notice(tmp_path, 1000, limit=3, saves=100) is None


def test_checkpoints_that_will_not_fit_are_reported(tmp_path: Path) -> None:
    notice = room_notice(tmp_path, 2**60, limit=3, saves=100)
    assert notice is not None
    assert notice.startswith(
        "checkpoints will take about 4611686018.43 GB more (4 of 1152921504.61 GB) and the disk of"
    )


def test_a_run_of_few_saves_needs_room_for_these_only(tmp_path: Path) -> None:
    notice = room_notice(tmp_path, 2**60, limit=None, saves=2)
    assert notice is not None and "(2 of 1152921504.61 GB)" in notice
