"""A run on the screen."""

from __future__ import annotations

import errno
import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from dit_run.cli.progress import ConsoleReporter, _Console, beside

VALUES = {"loss": 0.5, "learning_rate": 1e-4, "grad_norm": 2.0, "images_per_second": 12.0, "epoch": 0.1}


def shown(*, terminal: bool) -> str:
    """What a short run shows."""
    out = io.StringIO()
    reporter = ConsoleReporter(Console(file=out, force_terminal=terminal, width=120, highlight=False))
    reporter.notice("[a] notice")
    reporter.phase("encoding images", 3, 3)
    reporter.begin(10, 20)
    reporter.step(11, 0.25)
    reporter.logged(11, VALUES)
    reporter.saved(Path("run/checkpoints/step-00000011"))
    reporter.end()
    return out.getvalue()


def test_off_a_terminal_there_is_a_line_for_each_log() -> None:
    assert shown(terminal=False).splitlines() == [
        "note: [a] notice",
        "encoding images: 3/3",
        "step 11/20  loss 0.5  learning_rate 0.0001  grad_norm 2  images_per_second 12  left 0s",
        "saved run/checkpoints/step-00000011",
    ]


def test_off_a_terminal_a_long_phase_says_now_and_then_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    out, now = io.StringIO(), [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    reporter = ConsoleReporter(Console(file=out, force_terminal=False, width=120, highlight=False))
    for done in (1, 2, 6, 7, 12):
        reporter.phase("encoding images", done, 12)
        now[0] += 6
    assert out.getvalue().splitlines() == [
        "encoding images: 1/12",
        "encoding images: 6/12  left 14s",
        "encoding images: 12/12",
    ]


def test_training_shows_on_after_what_is_done_beside_it() -> None:
    out = io.StringIO()
    reporter = ConsoleReporter(Console(file=out, force_terminal=True, width=80, highlight=False))
    reporter.begin(0, 20)
    for done in (0, 5):
        reporter.phase("drawing", done, 5)
    before = len(out.getvalue())
    reporter.step(7, None)
    reporter.end()
    shown = out.getvalue()
    assert "drawing" in shown[:before]
    assert "drawing" not in shown[before:]
    assert "7/20" in shown[before:]


@pytest.mark.parametrize("terminal", [False, True])
def test_without_a_reader_it_goes_on_in_silence(capfd: pytest.CaptureFixture[str], terminal: bool) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    reporter = ConsoleReporter(_Console(file=Closed(), force_terminal=terminal, width=80))
    reporter.begin(0, 2)
    for step in (1, 2):
        reporter.step(step, 0.5)
        reporter.notice("a notice")
        reporter.logged(step, VALUES)
    reporter.end()
    said = "note: the output cannot be written (Broken pipe); the work goes on without it\n"
    assert capfd.readouterr() == ("", said)


def test_beside_a_result_nothing_is_said_off_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with beside() as reporter:
        reporter.phase("drawing", 0, 5)
        reporter.notice("a notice")
    assert capfd.readouterr() == ("", "")


def test_beside_a_result_a_bar_goes_and_the_cursor_comes_back_when_work_is_interrupted(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(KeyboardInterrupt), beside() as reporter:
        reporter.phase("drawing", 0, 5)
        raise KeyboardInterrupt
    said = capfd.readouterr()
    assert said.out == ""
    hidden, shown_again = "\x1b[?25l", "\x1b[?25h"
    assert said.err.index("drawing") > said.err.index(hidden)
    assert said.err.rindex(shown_again) > said.err.rindex(hidden)


def test_on_a_terminal_there_is_a_live_bar() -> None:
    text = shown(terminal=True)
    assert "training" in text
    assert "10/20" in text
    assert "loss 0.2500" in text
    assert "step 11/20" not in text
    assert text.count("saved run/checkpoints/step-00000011") == 1
