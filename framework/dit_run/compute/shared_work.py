"""Shared work: each process of a run does its part for any time; then all meet.

No collective operation waits for a process at work. The store of the processes, which each reads and writes alone, has
the number of finished items and an error that ends the work of all.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import TypeVar

from dit_run.compute.distributed import Processes
from dit_run.compute.mailbox import Mailbox
from dit_run.compute.process_progress import ProcessLost
from dit_run.problems import DitRunError, portable

__all__ = ["SharedWork", "Show"]

T = TypeVar("T")

Show = Callable[[int, int], None]
"""Called with the number of finished items and their total, of all processes."""
_CONTINUES = "with the missing records"
"""How the same command continues."""
_TOLD_EVERY = 1.0
"""Least time between two reports of a process at work to the others (seconds)."""
_MOST_REPORTS = 300
"""Reports that the store takes in a second, from all processes: each is about six questions to it."""


class SharedWork:
    """Work of all processes. They call :meth:`each` equally often; a single process needs no communication."""

    def __init__(self, processes: Processes | None = None) -> None:
        """Share work over these processes, by default one. Call it in all of them."""
        self.processes = processes or Processes()
        self._name = self.processes.broadcast(uuid.uuid4().hex) if self.processes.count > 1 else ""
        """Beginning of the names of its values in the store, which earlier work used, too."""
        self._rounds = 0
        self._own = (0, 0)
        """Finished items of this process and their total, as the others know them."""
        self._told = 0.0
        self._pause = max(_TOLD_EVERY, self.processes.count / _MOST_REPORTS)
        self._seen = (0, 0, 0)
        """Processes that are done, finished items and waits, at the last look."""
        self._shown = (0, 0)
        self._show: Show = _show_nothing

    def each(self, work: Callable[[], T], show: Show | None = None) -> list[T]:
        """Call ``work`` in every process; when the last is done, return their picklable values by rank.

        ``show`` is called in the first process. Raises, in every process, the DitRunError of one; ProcessLost where
        another process failed otherwise, or shows no progress for :func:`timeout_seconds`.
        """
        self._show = show or _show_nothing
        if self.processes.store is None:
            return [work()]
        self._rounds, self._own, self._shown, self._told = self._rounds + 1, (0, 0), (0, 0), time.monotonic()
        try:
            value = work()
        except Exception as error:
            Mailbox(self.processes.store).put(self._failed, self._portable(error))
            raise
        self._wait()
        return self.processes.gather(value)

    def advance(self, done: int, total: int) -> None:
        """Show finished items of this process to all; call it in the work. Raises the error of another process."""
        if self.processes.store is None:
            self._show(done, total)
        elif done == total or self._own == (0, 0) or time.monotonic() - self._told > self._pause:
            self._count("total", total - self._own[1])  # first: no process sees more finished items than there are
            self._count("done", done - self._own[0])
            self._own, self._told = (done, total), time.monotonic()
            self._look()

    def wait_longer(self) -> None:
        """Let the others see that this process has a reason to wait; call it in the work."""
        if self.processes.store is not None and time.monotonic() - self._told > self._pause:
            self._told = time.monotonic()
            self._count("waits", 1)
            self._look()

    def _wait(self) -> None:
        self._count("ready", 1)
        assert self.processes.progress is not None
        self.processes.progress.wait_until(
            self._all_ready, lambda: self._seen, self._waits, _CONTINUES, longest=self._pause / 2
        )

    def _all_ready(self) -> bool:
        self._look()
        return self._seen[0] == self.processes.count

    def _waits(self) -> str:
        left = self.processes.count - self._seen[0]
        return f"process {self.processes.rank} waits for {left} other processes, which have"

    def _look(self) -> None:
        """Look at the progress of all processes, and show it. Raises the error of another process."""
        assert self.processes.progress is not None
        progress = self.processes.progress
        mailbox, lost = Mailbox(progress.store), progress.lost()  # first: a process leaves its error there, and ends
        if mailbox.has(self._failed):
            raise mailbox.get(self._failed)
        ready = self._count("ready", 0)  # first: then the numbers of items are complete when all are ready
        items = self._count("done", 0), self._count("total", 0)
        if self.processes.first and items != self._shown:
            self._shown = items
            self._show(*items)
        self._seen = ready, items[0], self._count("waits", 0)
        if lost and ready < self.processes.count:
            raise progress.without(lost, _CONTINUES)

    @property
    def _failed(self) -> str:
        """Key of the error that ends the work of all."""
        return f"{self._name}/failed"

    def _count(self, name: str, more: int) -> int:
        """Add to a number of this round that all processes count together, and return it."""
        assert self.processes.store is not None
        return int(self.processes.store.add(f"{self._name}/{self._rounds}/{name}", more))

    def _portable(self, error: Exception) -> DitRunError:
        """Return an error that the other processes can unpickle."""
        if not isinstance(error, DitRunError):
            return ProcessLost(f"process {self.processes.rank} of this run failed. Its output says why")
        return portable(error)


def _show_nothing(done: int, total: int) -> None:
    """Show no progress."""
