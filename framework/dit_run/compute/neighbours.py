"""Neighbours: the processes of a run on one machine, of which the first looks at the data for all.

A found value travels through a file for temporary files, which all of them read, and not through the store of the run:
it may hold the captions of millions of samples.
"""

from __future__ import annotations

import contextlib
import pickle
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from dit_run.compute.distributed import Processes
from dit_run.compute.mailbox import Mailbox
from dit_run.compute.process_progress import ProcessProgress
from dit_run.digests import cache_home
from dit_run.problems import DitRunError, portable

__all__ = ["Neighbours"]

T = TypeVar("T")

_CONTINUES = "with the same data"
"""How the same command continues."""
_LONGEST_WAIT = 0.05
"""Time between two looks whether all neighbours have read a value (seconds)."""


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

        A value that cannot be pickled or written is found by each by itself. Raises the DitRunError of the first;
        ProcessLost where that failed otherwise.
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
        try:
            with progress.shown():
                value = find()
        except DitRunError as error:
            mailbox.put(key, portable(error))
            raise
        with _written(value) as path, progress.shown():
            mailbox.put(key, path)
            progress.wait_until(
                lambda: progress.store.add(f"{key}/read", 0) == len(self.ranks) - 1,
                lambda: progress.store.add(f"{key}/read", 0),
                lambda: f"process {progress.rank} waits for its neighbours, which have",
                _CONTINUES,
                longest=_LONGEST_WAIT,
            )
        return value

    def _received(
        self, progress: ProcessProgress, key: str, message: DitRunError | Path | None, find: Callable[[], T]
    ) -> T:
        """Read the value, or find it where there is none to read."""
        if isinstance(message, DitRunError):
            raise message
        try:
            content = None if message is None else message.read_bytes()
        except OSError:  # a machine of the same name
            content = None
        progress.store.add(f"{key}/read", 1)
        return find() if content is None else cast(T, pickle.loads(content))


@contextlib.contextmanager
def _written(value: object) -> Iterator[Path | None]:
    """Write a value to a file that is removed at the end; None if that is not possible."""
    with contextlib.ExitStack() as stack:
        path = None
        with contextlib.suppress(OSError, pickle.PicklingError, TypeError, AttributeError):
            content = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dit-run-"))) / "value"
            path.write_bytes(content)
        yield path
