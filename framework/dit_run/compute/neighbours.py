"""Neighbours: the processes of a run on one machine, of which the first looks at the data for all.

A found value travels through a file for temporary files, which all of them read, and not through the store of the run:
it may hold the captions of millions of samples.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

from dit_run.compute.distributed import Processes
from dit_run.compute.mailbox import Mailbox
from dit_run.compute.process_progress import ProcessProgress
from dit_run.digests import cache_home
from dit_run.problems import DitRunError, portable

__all__ = ["Neighbours"]

T = TypeVar("T")

_LOGGER = logging.getLogger("dit_run")

_LAST_WORDS = 5.0
"""Time that the first process gives its neighbours to read its error, before it ends (seconds)."""
_PAUSE = 0.02
"""Time between two looks whether they have (seconds)."""


@dataclass
class Neighbours:
    """The processes of one machine with one working directory and one cache. They call :meth:`share` equally often."""

    processes: Processes
    ranks: Sequence[int] = (0,)
    """Ranks of the processes, among them this one."""
    name: str = ""
    """Beginning of the names of their values in the store of the run."""
    _shared: int = 0
    """Number of values so far."""

    @classmethod
    def of(cls, processes: Processes) -> Neighbours:
        """Return the neighbours of this process. Call it in all processes."""
        if processes.count == 1:
            return cls(processes)
        machines = processes.gather((socket.gethostname(), str(Path.cwd()), str(cache_home())))
        ranks = [rank for rank, machine in enumerate(machines) if machine == machines[processes.rank]]
        return cls(processes, ranks, f"{processes.broadcast(uuid.uuid4().hex)}/{ranks[0]}")

    def share(self, find: Callable[[], T]) -> T:
        """Return the picklable value of ``find``, which the first neighbour alone calls; the others wait for any time.

        A value that cannot be pickled, written or read is found by each by itself. Raises the DitRunError of the first;
        ProcessLost where that failed otherwise or stopped.
        """
        progress = self.processes.progress
        if len(self.ranks) == 1 or progress is None:
            return find()
        self._shared += 1
        key = f"{self.name}/{self._shared}"
        if self.processes.rank == self.ranks[0]:
            return self._found(progress, key, find)
        mailbox = Mailbox(progress.store)
        progress.wait_for(self.ranks[0], lambda: mailbox.has(key))
        return self._received(progress, key, mailbox.get(key), find)

    def _found(self, progress: ProcessProgress, key: str, find: Callable[[], T]) -> T:
        """Find the value, and wait until the others have read it."""
        mailbox = Mailbox(progress.store)

        def has_read(rank: int) -> bool:
            return bool(progress.store.check([f"{key}/read/{rank}"]))

        try:
            with progress.shown():
                value = find()
        except DitRunError as error:
            mailbox.put(key, portable(error))
            until = time.monotonic() + _LAST_WORDS
            while not all(map(has_read, self.ranks[1:])) and not progress.lost() and time.monotonic() < until:
                time.sleep(_PAUSE)
            raise
        with progress.shown(), _written(value) as path:
            mailbox.put(key, path)
            for rank in self.ranks[1:]:
                progress.wait_for(rank, partial(has_read, rank))
        return value

    def _received(
        self, progress: ProcessProgress, key: str, message: DitRunError | Path | None, find: Callable[[], T]
    ) -> T:
        """Read the value, or find it where there is none to read."""
        with progress.shown():
            read = _read(message) if isinstance(message, Path) else None
            progress.store.set(f"{key}/read/{progress.rank}", "")
            if isinstance(message, DitRunError):
                raise message
            return find() if read is None else cast(T, read[0])


@contextlib.contextmanager
def _written(value: object) -> Iterator[Path | None]:
    """Write a value to a file that is removed at the end; None if that is not possible."""
    with contextlib.ExitStack() as stack:
        yield _write(value, stack)


def _write(value: object, stack: contextlib.ExitStack) -> Path | None:
    with contextlib.ExitStack() as failing:
        try:
            file = Path(failing.enter_context(tempfile.TemporaryDirectory(prefix="dit-run-"))) / "value"
            with file.open("wb") as opened:
                pickle.dump(value, opened, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # noqa: BLE001  a dataset of a plugin may fail in any way, and the disk may be full
            _LOGGER.debug("what the first process found cannot be handed to the others: %s", error)
            return None
        stack.push(failing.pop_all())
        return file


def _read(path: Path) -> tuple[object] | None:
    """Return the value in a file; None if it cannot be read."""
    try:
        with path.open("rb") as opened:
            return (pickle.load(opened),)
    except Exception as error:  # noqa: BLE001  as above; and another machine may have the same name
        _LOGGER.debug("what the first process found cannot be read: %s", error)
        return None
