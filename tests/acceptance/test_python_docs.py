"""docs/python.md: every block runs, in order, in one process."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pages import PAGES, programs
from runs import CONFIG

import dit_run

PAGE = PAGES["docs/python.md"].read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("configs/quickstart.yaml").write_text(CONFIG)
    names: dict[str, Any] = {}
    for block in programs(PAGE):
        exec(compile(block, "docs/python.md", "exec"), names)
    assert "command line:1:21 training.batch_size" in capsys.readouterr().out
    assert names["result"].step == 6 and set(names["losses"]) == {1, 2, 3, 4, 5, 6}
    assert {path.name for path in Path().glob("*.png")} == {"circle.png", "square.png"}


def test_the_page_names_the_whole_public_api() -> None:
    table = PAGE.partition("## All names")[2]
    assert set(re.findall(r"`(\w+)`", table)) == set(dit_run.__all__)
