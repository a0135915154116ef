"""Notices of a run, kept in its folder for those who look later."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dit_run.reporting import Reporter
from dit_run.runs.notices_file import NoticesFile

__all__ = ["KeptNotices"]


class KeptNotices:
    """A reporter that passes everything on, and writes notices to a file.

    Notices before training begins wait for it, because a run that is refused writes nothing. The file has none from
    after its end, which ``status.json`` describes.
    """

    def __init__(self, reporter: Reporter, file: NoticesFile) -> None:
        self._reporter = reporter
        self._file = file
        self._step = 0
        self._waiting: list[str] = []
        self._training = False

    def notice(self, text: str) -> None:
        self._reporter.notice(text)
        if self._training:
            self._file.append(self._step, text)
        else:
            self._waiting.append(text)

    def phase(self, name: str, done: int, total: int) -> None:
        self._reporter.phase(name, done, total)

    def begin(self, step: int, total_steps: int) -> None:
        self._reporter.begin(step, total_steps)
        self._step, self._training = step, True
        for text in self._waiting:
            self._file.append(step, text)
        self._waiting.clear()

    def step(self, step: int, loss: float | None) -> None:
        self._step = step
        self._reporter.step(step, loss)

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        self._reporter.logged(step, values)

    def saved(self, path: Path) -> None:
        self._reporter.saved(path)

    def end(self) -> None:
        self._training = False
        self._reporter.end()
