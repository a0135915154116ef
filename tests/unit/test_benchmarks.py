"""The frame of the benchmarks: turns, bars, reports that are kept, and one command over all scripts."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
from measuring import Bar, Report, Table, finish, parser
report = Report("Title of NAME", [Table(["head"], [["cell"]])], [Bar("a bar", 3.0, 2.0)], ["A note."])
print("ran NAME")
raise SystemExit(finish(report, parser("").parse_args()))
"""


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.measuring")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The one command, over two small scripts."""
    monkeypatch.syspath_prepend(str(ROOT))
    module = importlib.import_module("benchmarks.__main__")
    shutil.copy(ROOT / "benchmarks" / "measuring.py", tmp_path)
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(SCRIPT.replace("NAME", name))
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(module, "MINUTES", {"one": 1.0})
    monkeypatch.setattr(module, "PAGES", {"paged": 9.0})
    monkeypatch.setattr(module, "ALL", {"one": 1.0, "two": 100.0, "paged": 9.0})

    def run(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["benchmarks", *words])
        status: int = module.main()
        return status

    return run


def test_contestants_take_turns_and_the_first_rounds_do_not_count(measuring: ModuleType) -> None:
    order: list[str] = []
    ticks = iter(range(100))
    taken = measuring.in_turn(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2, clock=lambda: float(next(ticks))
    )
    assert order == ["a", "b"] * 3
    assert taken == {"a": [1.0, 1.0], "b": [1.0, 1.0]}


def test_a_ratio_is_the_median_over_pairs(measuring: ModuleType) -> None:
    assert measuring.ratio([2, 8, 9], [1, 2, 9]) == 2


@pytest.mark.parametrize(("value", "at_most", "met"), [(2.0, False, True), (1.9, False, False), (2.0, True, True)])
def test_a_bar_is_met_at_its_limit(measuring: ModuleType, value: float, at_most: bool, met: bool) -> None:
    assert measuring.Bar("what", value, 2.0, at_most=at_most).met is met


def test_the_command_runs_what_has_no_report_yet(command: Any, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    assert command() == 0
    out = capfd.readouterr().out
    assert out.startswith("1 scripts to run, about 1 minutes\n") and "ran one" in out and "ran two" not in out
    assert command() == 0
    assert "ran" not in capfd.readouterr().out
    assert command("--again") == 0
    assert "ran one" in capfd.readouterr().out


def test_the_results_have_all_reports(command: Any, tmp_path: Path) -> None:
    (tmp_path / "OTHER.md").write_text("# Another\n")
    assert command("one", "two") == 0
    text = (tmp_path / "RESULTS.md").read_text()
    assert text.count("| a bar | 3 times | at least 2 times | yes |") == 4
    assert "## Title of one" in text and "## Title of two" in text and "A note." in text
    assert text.count("Machine: ") == 1 and "- [Another](OTHER.md)" in text
    kept = json.loads((tmp_path / "results" / "one.json").read_text())
    assert kept["bars"][0]["met"] is True and kept["versions"]["torch"]


def test_a_script_that_fails_is_named(command: Any, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    (tmp_path / "one.py").write_text("raise SystemExit('no')")
    assert command() == 1
    assert "failed: one" in capfd.readouterr().out


def test_a_training_goes_on_by_itself_and_writes_its_page(command: Any, tmp_path: Path) -> None:
    (tmp_path / "paged.py").write_text(
        "import pathlib, sys\n"
        "assert len(sys.argv) == 1\n"
        "page = pathlib.Path(__file__).with_name('PAGED.md')\n"
        "page.write_text((page.read_text() if page.exists() else '# Raced') + '!')\n"
        "raise SystemExit(1)  # a missed bar\n"
    )
    assert command("paged") == 0
    assert command("paged") == 0
    assert (tmp_path / "PAGED.md").read_text() == "# Raced!!"
    assert "[Raced!!](PAGED.md)" in (tmp_path / "RESULTS.md").read_text()
    (tmp_path / "paged.py").write_text("raise SystemExit(1)")
    assert command("paged") == 1
