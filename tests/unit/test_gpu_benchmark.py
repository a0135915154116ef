"""The frame of the measurements on a GPU: parts that are kept, and a section of a page."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.gpu")


def test_a_section_is_added_before_long_runs_and_replaced_later(gpu: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    page.write_text("# Benchmarks\n\n## One\n\n1\n\n## Results of long runs\n\n- a\n")
    gpu.write_section(page, "## On a GPU\n\nfirst\n")
    gpu.write_section(page, "## On a GPU\n\nsecond\n")
    assert page.read_text() == (
        "# Benchmarks\n\n## One\n\n1\n\n## On a GPU\n\nsecond\n\n## Results of long runs\n\n- a\n"
    )


def test_a_section_is_read_back(gpu: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    assert gpu.section_of(page) is None
    page.write_text("# Benchmarks\n\n## Results of long runs\n\n- a\n")
    assert gpu.section_of(page) is None
    gpu.write_section(page, "## On a GPU\n\nfirst\n")
    before, section = page.read_text(), gpu.section_of(page)
    gpu.write_section(page, section)
    assert page.read_text() == before
    assert section == "## On a GPU\n\nfirst\n"


def test_the_report_has_a_line_for_each_part(gpu: ModuleType) -> None:
    found = {"one": {"images": 1234.5678, "waits": 0, "seconds": 3.0}, "two": {"error": "no time was left"}}
    report = gpu.report_of(found)
    assert "| one | images 1,235; waits 0 |" in report
    assert "| two | error no time was left |" in report


def test_all_parts_fit_into_the_time_that_a_machine_is_lent(gpu: ModuleType) -> None:
    assert gpu.BUDGET <= 8 * 60
    names = list(gpu.parts())
    assert all(f"step-{name}-{kind}" in names for name in gpu.CONFIGS for kind in ("eager", "compiled"))


@pytest.mark.slow
def test_parts_that_were_measured_are_kept(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--tiny", "--folder", str(tmp_path), "--only", "loader"]
    assert subprocess.run(command, cwd=ROOT).returncode == 0
    kept = tmp_path / "gpu" / "loader.json"
    assert json.loads(kept.read_text())["samples per core-second"] > 0
    kept.write_text(json.dumps({"samples per core-second": 1.0}))
    subprocess.run(command, cwd=ROOT, check=True)
    assert json.loads((tmp_path / "gpu.json").read_text())["parts"]["loader"] == {"samples per core-second": 1.0}
