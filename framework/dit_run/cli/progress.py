"""The progress of a run: a live bar on a terminal, one line per logged step elsewhere."""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Concatenate, ParamSpec

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from dit_run.cli.broken_output import forget
from dit_run.reporting import Reporter, Silent
from dit_run.system.units import duration_text

__all__ = ["ConsoleReporter", "progress_on_stderr"]

P = ParamSpec("P")

_LINE_SECONDS = 10.0
"""Least time between two lines of a phase (s), if there is no terminal."""
_BAR_WIDTH = 60
"""Least width of a terminal (columns) that has room for a bar next to the numbers."""
_LOGGED = ("loss", "learning_rate", "grad_norm", "images_per_second", "validation/loss", "validation/loss_ema")
_PROFILE = "profile/"


@contextlib.contextmanager
def progress_on_stderr(*, quiet: bool = False) -> Iterator[Reporter]:
    """Report to standard error if it is a terminal, and not at all otherwise: standard output holds the result.

    The bars are removed however the work ends.
    """
    reporter = ConsoleReporter(Console(stderr=True, highlight=False, soft_wrap=True))
    try:
        yield reporter if reporter.live and not quiet else Silent()
    finally:
        reporter.end()


class _Console(Console):
    """A console that raises BrokenPipeError; rich's own ends the process."""

    def on_broken_pipe(self) -> None:
        raise


class _TimeLeft(ProgressColumn):
    max_refresh = 0.5

    def get_table_column(self) -> Column:
        return Column(no_wrap=True)

    def render(self, task: Task) -> Text:
        left = task.time_remaining
        return Text("" if left is None else f"left {duration_text(round(left))}")


@dataclass(frozen=True)
class _Start:
    """The state at which work began or continued."""

    done: int
    time: float

    def left(self, done: int, total: int, now: float) -> str:
        """Return the time left, or an empty text as long as it is unknown."""
        if done <= self.done or done >= total:
            return ""
        return f"left {duration_text(round((now - self.time) / (done - self.done) * (total - done)))}"


def _while_writable(
    report: Callable[Concatenate[ConsoleReporter, P], None],
) -> Callable[Concatenate[ConsoleReporter, P], None]:
    """Report nothing more after the output could not be written: training does not depend on its reader."""

    @functools.wraps(report)
    def guarded(self: ConsoleReporter, /, *args: P.args, **named: P.kwargs) -> None:
        if self.console.quiet:
            return
        try:
            report(self, *args, **named)
        except OSError as error:
            self.give_up(error)

    return guarded


class ConsoleReporter:
    """Implements :class:`dit_run.reporting.Reporter` for people."""

    def __init__(self, console: Console | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console or _Console(highlight=False, soft_wrap=True)
        self.live = self.console.file.isatty() and not self.console.is_dumb_terminal
        """True if bars are shown. ``FORCE_COLOR`` does not turn a file into a terminal."""
        self._clock = clock
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._phase = ""
        self._phase_start = _Start(0, 0.0)
        self._line_time = 0.0
        self._total = 0
        self._start = _Start(0, 0.0)

    @_while_writable
    def notice(self, text: str) -> None:
        self._print(f"note: {text}")

    @_while_writable
    def phase(self, name: str, done: int, total: int) -> None:
        if self.live:
            self._show(name, done, total, "")
            if done >= total:
                self._finish(name)
            return
        now = self._clock()
        if name != self._phase:
            self._phase, self._phase_start, self._line_time = name, _Start(done, now), 0.0
        if done >= total or now - self._line_time > _LINE_SECONDS:
            self._line_time = now
            self._print(f"{name}: {done}/{total}  {self._phase_start.left(done, total, now)}".rstrip())

    @_while_writable
    def begin(self, step: int, total_steps: int) -> None:
        self._stop()
        self._total = total_steps
        self._start = _Start(step, self._clock())
        if self.live:
            self._show("training", step, total_steps, "")

    @_while_writable
    def step(self, step: int, loss: float | None) -> None:
        if self.live:
            self._show("training", step, self._total, "" if loss is None else f"loss {loss:.4f}")

    @_while_writable
    def logged(self, step: int, values: Mapping[str, float]) -> None:
        if self.live and not {"validation/loss", "profile/data"} & set(values):
            return
        parts = [_part(name, value) for name, value in values.items() if name in _LOGGED or name.startswith(_PROFILE)]
        left = self._start.left(step, self._total, self._clock())
        self._print("  ".join(filter(None, [f"step {step}/{self._total}", *parts, left])))

    @_while_writable
    def saved(self, path: Path) -> None:
        self._print(f"saved {path}")

    @_while_writable
    def end(self) -> None:
        self._stop()

    def give_up(self, error: OSError) -> None:
        """Stop reporting, because the output could not be written."""
        self.console.quiet = True
        forget(self.console.file)
        with contextlib.suppress(OSError):
            self._stop()
        try:
            print(f"note: cannot write the output ({error.strerror}); continuing without it", file=sys.stderr)
        except OSError:
            forget(sys.stderr)

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False)

    def _show(self, name: str, done: int, total: int, text: str) -> None:
        if self._progress is None:
            progress = Progress(
                TextColumn("{task.description}"),
                *([BarColumn()] if self.console.width >= _BAR_WIDTH else []),
                MofNCompleteColumn(),
                TextColumn("{task.fields[text]}"),
                _TimeLeft(),
                console=self.console,
                transient=True,
            )
            progress.start()
            self._progress = progress
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, completed=done, text=text)
        self._progress.update(self._tasks[name], completed=done, total=total, text=text)

    def _finish(self, name: str) -> None:
        """Remove a finished bar, and keep the bar of the training."""
        if self._progress is not None:
            self._progress.remove_task(self._tasks.pop(name))
            if not self._tasks:
                self._stop()

    def _stop(self) -> None:
        progress, self._progress, self._tasks = self._progress, None, {}
        if progress is not None:
            progress.stop()


def _part(name: str, value: float) -> str:
    if name.startswith(_PROFILE):
        return f"{name.removeprefix(_PROFILE)} {value:.0%}"
    return f"{name} {value:.4g}"
