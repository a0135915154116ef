"""Shell completion: what is offered for a line that is not finished, as the shell asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from runs import CONFIG


@pytest.fixture
def offered(tmp_path: Path) -> object:
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "outputs").mkdir()

    def offered(line: str) -> list[str]:
        answer = tmp_path / "answer"
        environment = {
            **os.environ,
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
            "COMP_TYPE": "9",
        }
        subprocess.run([sys.executable, "-m", "dit_run"], cwd=tmp_path, env=environment, check=True, timeout=60)
        return answer.read_text().split("\n") if answer.stat().st_size else []

    return offered


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dit-run s", ["sample", "schema"]),
        ("dit-run ti", ["tiny.yaml"]),
        ("dit-run train ti", ["tiny.yaml"]),
        ("dit-run no", []),
        ("dit-run in", ["init", "info"]),
        ("dit-run data ti", ["tiny.yaml"]),
        ("dit-run sample out", ["outputs/"]),
        ("dit-run tiny.yaml training.ba", ["training.batch_size="]),
        ("dit-run train tiny.yaml scheduler.logit", ["scheduler.logit_mean=", "scheduler.logit_std="]),
        (
            "dit-run tiny.yaml optimizer.type=",
            [
                f"optimizer.type={name}"
                for name in ("adamw", "adamw_8bit", "muon", "prodigy", "schedule_free_adamw", "torch")
            ],
        ),
        ("dit-run tiny.yaml training.use_ema=t", ["training.use_ema=true"]),
        ("dit-run nowhere.yaml training.max_s", ["training.max_steps="]),
        ("dit-run train --f", ["--fresh", "--fork"]),
        ("dit-run explain two-", ["two-types", "two-forms", "two-names"]),
        ("dit-run sample --che", ["--checkpoint"]),
    ],
)
def test_a_line_is_completed(offered: object, line: str, expected: list[str]) -> None:
    assert offered(line) == expected  # type: ignore[operator]
