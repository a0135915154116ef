"""The frame of the measurements on a GPU: parts that are kept, a section of a page, and the packages to bring."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def page() -> ModuleType:
    return importlib.import_module("benchmarks.gpu.page")


@pytest.fixture
def frame() -> ModuleType:
    return importlib.import_module("benchmarks.gpu.frame")


def _part(**options: Any) -> Any:
    """A part that no process can measure: it has no name in the list of parts."""
    from benchmarks.gpu.trial import Part

    return Part(**{"seconds": 60.0, "measure": lambda trial: {}, **options})


# ----------------------------------------------------------------------------------------------------------- the page


def test_a_section_is_added_before_long_runs_and_replaced_later(page: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "RESULTS.md"
    file.write_text("# Benchmarks\n\n## One\n\n1\n\n## Results of long runs\n\n- a\n")
    page.write_section(file, "## On a GPU\n\nfirst\n")
    page.write_section(file, "## On a GPU\n\nsecond\n")
    assert file.read_text() == (
        "# Benchmarks\n\n## One\n\n1\n\n## On a GPU\n\nsecond\n\n## Results of long runs\n\n- a\n"
    )


def test_a_section_is_read_back(page: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "RESULTS.md"
    assert page.section_of(file) is None
    file.write_text("# Benchmarks\n\n## Results of long runs\n\n- a\n")
    assert page.section_of(file) is None
    page.write_section(file, "## On a GPU\n\nfirst\n")
    before, section = file.read_text(), page.section_of(file)
    page.write_section(file, section)
    assert file.read_text() == before
    assert section == "## On a GPU\n\nfirst\n"


def test_a_section_begins_a_page_that_is_missing(page: ModuleType, tmp_path: Path) -> None:
    page.write_section(tmp_path / "RESULTS.md", "## On a GPU\n\nfirst\n")
    page.write_section(tmp_path / "RESULTS.md", "## On a GPU\n\nsecond\n")
    assert (tmp_path / "RESULTS.md").read_text() == "## On a GPU\n\nsecond\n"


def test_the_report_has_a_line_for_each_part(page: ModuleType) -> None:
    found = {"one": {"images": 1234.5678, "waits": 0, "seconds": 3.0}, "two": {"error": "no time was left"}}
    report = page.report_of(found)
    assert "| one | images 1,235; waits 0 |" in report
    assert "| two | error no time was left |" in report


def test_rows_become_a_table_of_the_part(page: ModuleType) -> None:
    report = page.report_of({"kernels": {"a": {"math": 12.345678, "flash": None}, "b": {"math": 2.0}, "seconds": 1.0}})
    assert "| kernels | see below |" in report
    assert report.endswith("| kernels | math | flash |\n| --- | --- | --- |\n| a | 12.35 | – |\n| b | 2 | – |\n")


# ---------------------------------------------------------------------------------------------------------- the parts


def test_all_parts_fit_into_the_time_that_a_machine_is_lent(frame: ModuleType) -> None:
    from benchmarks.gpu.parts import PARTS
    from benchmarks.gpu.steps import CONFIGS

    assert frame.BUDGET <= 8 * 60
    assert all(f"step-{name}-{kind}" in PARTS for name in CONFIGS for kind in ("eager", "compiled"))
    assert {"backends", "data", "loop", "draws"} <= PARTS.keys()


def test_a_part_without_its_package_is_skipped_and_tried_again_later(frame: ModuleType, tmp_path: Path) -> None:
    parts = {"pixart": _part(needs=("json", "no_such_package", "no_other"))}
    assert dict(frame.measured(parts, tmp_path)) == {
        "pixart": {"skipped": "needs no_such_package, no_other, which is not installed"}
    }
    assert dict(frame.measured({"pixart": _part()}, tmp_path, budget=0)) == {"pixart": {"error": "no time was left"}}


def test_a_measured_part_is_kept_unless_it_is_to_be_measured_again(frame: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('{"images": 1.0}')
    measured = partial(frame.measured, {"one": _part()}, tmp_path, budget=0)
    assert dict(measured()) == {"one": {"images": 1.0}}
    assert dict(measured(again=True)) == {"one": {"error": "no time was left"}}


def test_a_part_without_a_result_is_tried_once_more(frame: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('{"error": "took longer than 5 s"}')
    assert dict(frame.measured({"one": _part()}, tmp_path, budget=0)) == {"one": {"error": "no time was left"}}


def test_parts_that_are_not_wanted_now_keep_their_values(frame: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('{"images": 1.0}')
    parts = {"one": _part(), "two": _part(), "three": _part()}
    assert dict(frame.measured(parts, tmp_path, only=["two"], again=True, budget=0)) == {
        "one": {"images": 1.0},
        "two": {"error": "no time was left"},
    }


@pytest.mark.slow
def test_parts_that_were_measured_are_kept(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--tiny", "--folder", str(tmp_path), "--only", "draws"]
    assert subprocess.run(command, cwd=ROOT).returncode == 0
    kept = tmp_path / "gpu" / "draws.json"
    assert json.loads(kept.read_text())["samples per core-second"] > 0
    kept.write_text(json.dumps({"samples per core-second": 1.0}))
    subprocess.run(command, cwd=ROOT, check=True)
    assert json.loads((tmp_path / "gpu.json").read_text())["parts"]["draws"] == {"samples per core-second": 1.0}
    assert "| draws | samples per core-second 1 |" in (tmp_path / "RESULTS.md").read_text()


@pytest.mark.slow
def test_a_part_that_takes_too_long_or_fails_stops_no_other(
    frame: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame, "LEAST", 0.0)
    parts = {"draws": _part(seconds=0.1), "unknown": _part()}
    found = dict(frame.measured(parts, tmp_path))
    assert found["draws"]["error"] == "took longer than 0 s"
    assert found["unknown"]["error"].startswith("python -m benchmarks.gpu: error: argument --part: invalid choice")


# ------------------------------------------------------------------------------------------------- packages to bring


def test_the_packages_to_bring_are_those_that_a_machine_with_torch_lacks() -> None:
    """Nothing that dit-run needs is left out, and nothing is listed that it does not need."""
    described = importlib.import_module("benchmarks.gpu.__main__").__doc__ or ""
    listed = set(re.sub(r"\s+", " ", described.partition("NAMES: ")[2].partition(". Then")[0]).split())
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    present = _with_all_they_need(["torch", "transformers", "pillow"])
    lacking = _with_all_they_need(Requirement(line).name for line in needed) - present
    assert lacking <= listed
    of_some_versions = {"httpx", "lazy-importer"}
    assert listed - lacking <= of_some_versions, "listed without need"
    pinned = {
        _normal(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    assert listed <= pinned


def _with_all_they_need(names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    left = list(names)
    while left:
        name = _normal(left.pop())
        if name not in found:
            found.add(name)
            requirements = map(Requirement, importlib.metadata.requires(name) or [])
            left += [each.name for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
