"""A run on the screen: a live bar on a terminal, one line per logged step elsewhere."""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Concatenate, ParamSpec

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeftColumn

from dit_run.cli.broken_output import forget
from dit_run.reporting import Reporter, Silent

__all__ = ["ConsoleReporter", "beside"]

P = ParamSpec("P")


@contextlib.contextmanager
def beside() -> Iterator[Reporter]:
    """For commands whose standard output is a result: bars on standard error where that is a terminal, else nothing.
    They go from the screen however the work ends."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    reporter = ConsoleReporter(console) if console.is_terminal else Silent()
    try:
        yield reporter
    finally:
        reporter.end()


_QUIET_SECONDS = 10.0
"""Between two lines of a phase, off a terminal."""


class _Console(Console):
    """One whose reader may go: rich's own would end the process."""

    def on_broken_pipe(self) -> None:
        raise


def _unless_unread(
    told: Callable[Concatenate[ConsoleReporter, P], None],
) -> Callable[Concatenate[ConsoleReporter, P], None]:
    """Says nothing more once it cannot be written: training does not depend on who watches."""

    @functools.wraps(told)
    def tell(self: ConsoleReporter, /, *args: P.args, **named: P.kwargs) -> None:
        if self.unread:
            return
        try:
            told(self, *args, **named)
        except OSError as error:
            self.give_up(error)

    return tell


class ConsoleReporter:
    """Implements :class:`dit_run.reporting.Reporter` for people."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or _Console(highlight=False, soft_wrap=True)
        self.unread = False
        """Whether there is nowhere to write any more."""
        self._live = self.console.is_terminal
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._phase = ""
        self._phase_began = (0, 0.0)
        self._said = 0.0
        self._total = 0
        self._began = (0, 0.0)

    @_unless_unread
    def notice(self, text: str) -> None:
        self.console.print(f"note: {text}", markup=False)

    @_unless_unread
    def phase(self, name: str, done: int, total: int) -> None:
        if self._live:
            self._show(name, done, total, "")
            if done >= total:
                self._finish(name)
            return
        now = time.monotonic()
        if name != self._phase:
            self._phase, self._phase_began, self._said = name, (done, now), 0.0
        if done >= total or now - self._said > _QUIET_SECONDS:
            self._said = now
            left = _left(self._phase_began, done, total) if done < total else ""
            self.console.print(f"{name}: {done}/{total}{left and '  '}{left}", markup=False)

    @_unless_unread
    def begin(self, step: int, total_steps: int) -> None:
        self._stop()
        self._total = total_steps
        self._began = (step, time.monotonic())
        if self._live:
            self._show("training", step, total_steps, "")

    @_unless_unread
    def step(self, step: int, loss: float | None) -> None:
        if self._live:
            self._show("training", step, self._total, "" if loss is None else f"loss {loss:.4f}")

    @_unless_unread
    def logged(self, step: int, values: Mapping[str, float]) -> None:
        if self._live and not {"validation/loss", "profile/data"} & set(values):
            return
        parts = [_part(name, value) for name, value in values.items() if name in _SHOWN or name.startswith(_SHARES)]
        self.console.print(
            f"step {step}/{self._total}  {'  '.join(parts)}  {_left(self._began, step, self._total)}", markup=False
        )

    @_unless_unread
    def saved(self, path: Path) -> None:
        self.console.print(f"saved {path}", markup=False)

    @_unless_unread
    def end(self) -> None:
        self._stop()

    def give_up(self, error: OSError) -> None:
        """Go on without this output, whose last words were not taken."""
        self.unread = self.console.quiet = True
        forget(self.console.file)
        with contextlib.suppress(OSError):
            self._stop()
        try:
            print(
                f"note: the output cannot be written ({error.strerror}); the work goes on without it", file=sys.stderr
            )
        except OSError:
            forget(sys.stderr)

    def _show(self, name: str, done: int, total: int, text: str) -> None:
        if self._progress is None:
            progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[text]}"),
                TimeElapsedColumn(),
                TimeLeftColumn(),
                console=self.console,
                transient=True,
            )
            progress.start()
            self._progress = progress
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, completed=done, text=text)
        self._progress.update(self._tasks[name], completed=done, total=total, text=text)

    def _finish(self, name: str) -> None:
        """What is done goes from the screen; training shows on."""
        if self._progress is not None:
            self._progress.remove_task(self._tasks.pop(name))
            if not self._tasks:
                self._stop()

    def _stop(self) -> None:
        progress, self._progress, self._tasks = self._progress, None, {}
        if progress is not None:
            progress.stop()


_SHOWN = (
    "loss",
    "learning_rate",
    "grad_norm",
    "images_per_second",
    "validation/loss",
    "validation/loss_ema",
)


_SHARES = "profile/"


def _part(name: str, value: float) -> str:
    if name.startswith(_SHARES):
        return f"{name.removeprefix(_SHARES)} {value:.0%}"
    return f"{name} {value:.4g}"


def _left(began: tuple[int, float], done: int, total: int) -> str:
    """The time left, from how long it took since ``began``: so much was done, at that time."""
    first, since = began
    if done <= first:
        return ""
    return f"left {_duration((time.monotonic() - since) / (done - first) * (total - done))}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
