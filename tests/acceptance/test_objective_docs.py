"""docs/objectives.md: every config in it is valid, and the objective that it writes keeps the contract and trains."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import PAGES, blocks
from runs import Command

from dit_run import load_config
from dit_run.testing import check_objective, check_plugin

BLOCKS = blocks(PAGES["docs/objectives.md"].read_text(encoding="utf-8"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files of the page."""
    monkeypatch.chdir(tmp_path)
    for block in BLOCKS:
        (tmp_path / (block.name or "config.yaml")).write_text(block.text)
    return tmp_path


@pytest.mark.parametrize("block", [block.text for block in BLOCKS if block.language == "yaml" and not block.name])
def test_every_config_is_valid(block: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(block)
    config = load_config(tmp_path / "config.yaml")
    assert [notice.message for notice in config.notices if notice.code == "without-effect"] == []


def test_its_objective_has_at_most_40_lines_and_keeps_the_contract(here: Path) -> None:
    assert sum(bool(line.strip()) for line in (here / "huber.py").read_text().splitlines()) <= 40
    check_plugin(here / "huber.py")
    check_objective(here / "huber.py")


def test_its_config_trains(here: Path, command: Command) -> None:
    said = command("huber.yaml", "data.size=40", "training.max_steps=2", "validation.every_n_steps=null")
    assert said.status == 0 and "finished after 2 steps" in said.words
