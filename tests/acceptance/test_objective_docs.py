"""docs/objectives.md: the objective that it writes keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import PAGES, blocks

from dit_run.testing import check_objective, check_plugin

BLOCKS = blocks(PAGES["docs/objectives.md"].read_text(encoding="utf-8"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files of the page."""
    monkeypatch.chdir(tmp_path)
    for block in BLOCKS:
        (tmp_path / (block.name or "config.yaml")).write_text(block.text)
    return tmp_path


def test_its_objective_has_at_most_40_lines_and_keeps_the_contract(here: Path) -> None:
    assert sum(bool(line.strip()) for line in (here / "huber.py").read_text().splitlines()) <= 40
    check_plugin(here / "huber.py")
    check_objective(here / "huber.py")
