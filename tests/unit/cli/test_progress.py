"""A run on the screen."""

from __future__ import annotations

import errno
import io
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

from dit_run.cli.progress import ConsoleReporter, _Console, progress_on_stderr

VALUES = {"loss": 0.5, "learning_rate": 1e-4, "grad_norm": 2.0, "images_per_second": 12.0, "epoch": 0.1}
ENVIRONMENT = {"TERM": "xterm"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(out: io.StringIO) -> str:
    """What a short run shows."""
    reporter = ConsoleReporter(Console(file=out, width=120, highlight=False, _environ=ENVIRONMENT))
    reporter.notice("[a] notice")
    reporter.phase("encoding images", 3, 3)
    reporter.begin(10, 20)
    reporter.step(11, 0.25)
    reporter.logged(11, VALUES)
    reporter.saved(Path("run/checkpoints/step-00000011"))
    reporter.end()
    return out.getvalue()


def bar(width: int) -> str:
    """The last bar of a run after a fifth of its steps, without control sequences."""
    out = Terminal()
    now = [0.0]
    reporter = ConsoleReporter(Console(file=out, width=width, _environ=ENVIRONMENT, get_time=lambda: now[0]))
    reporter.begin(0, 500)
    for step in range(10, 110, 10):
        now[0] += 1
        reporter.step(step, 0.25)
    reporter.end()
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()))
    return [" ".join(line.split()) for line in lines if line.strip()][-1]


def test_off_a_terminal_there_is_a_line_for_each_log() -> None:
    assert shown(io.StringIO()).splitlines() == [
        "note: [a] notice",
        "encoding images: 3/3",
        "step 11/20  loss 0.5  learning_rate 0.0001  grad_norm 2  images_per_second 12  left 0s",
        "saved run/checkpoints/step-00000011",
    ]


def test_off_a_terminal_a_long_phase_says_now_and_then_what_is_left() -> None:
    out, now = io.StringIO(), [1000.0]
    console = Console(file=out, force_terminal=False, width=120, highlight=False)
    reporter = ConsoleReporter(console, clock=lambda: now[0])
    for done in (1, 2, 6, 7, 12):
        reporter.phase("encoding images", done, 12)
        now[0] += 6
    assert out.getvalue().splitlines() == [
        "encoding images: 1/12",
        "encoding images: 6/12  left 14s",
        "encoding images: 12/12",
    ]


@pytest.mark.parametrize(
    ("width", "start", "end"),
    [(80, "training ━", " 100/500 loss 0.2500 left 40s"), (40, "training 100/500 ", " left 40s")],
)
def test_the_bar_labels_the_time_left_at_any_width(width: int, start: str, end: str) -> None:
    text = bar(width)
    assert text.startswith(start)
    assert text.endswith(end)
    assert not re.search(r"\d:\d\d", text)


@pytest.mark.parametrize("name", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_no_variable_turns_a_file_into_a_terminal(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(ENVIRONMENT, name, "1")
    monkeypatch.setenv(name, "1")
    text = shown(io.StringIO())
    assert "\x1b" not in text
    assert "step 11/20" in text


def test_training_stays_shown_when_other_work_ends() -> None:
    out = Terminal()
    reporter = ConsoleReporter(Console(file=out, width=80, highlight=False, _environ=ENVIRONMENT))
    reporter.begin(0, 20)
    for done in (0, 5):
        reporter.phase("sampling", done, 5)
    before = len(out.getvalue())
    reporter.step(7, None)
    reporter.end()
    text = out.getvalue()
    assert "sampling" in text[:before]
    assert "sampling" not in text[before:]
    assert "7/20" in text[before:]


@pytest.mark.parametrize("base", [io.StringIO, Terminal])
def test_without_a_reader_it_continues_in_silence(capfd: pytest.CaptureFixture[str], base: type[io.StringIO]) -> None:
    class Closed(base):  # type: ignore[valid-type, misc]
        def write(self, text: str) -> int:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    reporter = ConsoleReporter(_Console(file=Closed(), width=80, _environ=ENVIRONMENT))
    reporter.begin(0, 2)
    for step in (1, 2):
        reporter.step(step, 0.5)
        reporter.notice("a notice")
        reporter.logged(step, VALUES)
    reporter.end()
    said = "note: cannot write the output (Broken pipe); continuing without it\n"
    assert capfd.readouterr() == ("", said)


def test_on_standard_error_nothing_is_said_off_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_on_stderr() as reporter:
        reporter.phase("sampling", 0, 5)
        reporter.notice("a notice")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("quiet", [False, True])
def test_on_standard_error_a_bar_goes_and_the_cursor_comes_back_when_work_is_interrupted(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, quiet: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    with pytest.raises(KeyboardInterrupt), progress_on_stderr(quiet=quiet) as reporter:
        reporter.phase("sampling", 0, 5)
        raise KeyboardInterrupt
    assert capfd.readouterr().out == ""
    text = err.getvalue()
    if quiet:
        assert text == ""
        return
    hidden, shown_again = "\x1b[?25l", "\x1b[?25h"
    assert text.index("sampling") > text.index(hidden)
    assert text.rindex(shown_again) > text.rindex(hidden)


def test_on_a_terminal_there_is_a_live_bar() -> None:
    text = shown(Terminal())
    assert "training" in text
    assert "10/20" in text
    assert "loss 0.2500" in text
    assert "step 11/20" not in text
    assert text.count("saved run/checkpoints/step-00000011") == 1
