"""A run on the screen."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from dit_run.cli.progress import ConsoleReporter

VALUES = {"loss": 0.5, "learning_rate": 1e-4, "grad_norm": 2.0, "images_per_second": 12.0, "epoch": 0.1}


def shown(*, terminal: bool) -> str:
    """What a short run shows."""
    out = io.StringIO()
    reporter = ConsoleReporter(Console(file=out, force_terminal=terminal, width=120, highlight=False))
    reporter.notice("[a] notice")
    reporter.phase("encoding pictures", 3, 3)
    reporter.begin(10, 20)
    reporter.step(11, 0.25)
    reporter.logged(11, VALUES)
    reporter.saved(Path("run/checkpoints/step-00000011"))
    reporter.end()
    return out.getvalue()


def test_off_a_terminal_there_is_a_line_for_each_log() -> None:
    assert shown(terminal=False).splitlines() == [
        "note: [a] notice",
        "encoding pictures: 3/3",
        "step 11/20  loss 0.5  learning_rate 0.0001  grad_norm 2  images_per_second 12  left 0s",
        "saved run/checkpoints/step-00000011",
    ]


def test_on_a_terminal_there_is_a_live_bar() -> None:
    text = shown(terminal=True)
    assert "training" in text
    assert "10/20" in text
    assert "loss 0.2500" in text
    assert "step 11/20" not in text
    assert text.count("saved run/checkpoints/step-00000011") == 1
