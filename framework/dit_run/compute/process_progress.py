"""Progress: the processes of a run show that they work, so that others can wait for them for any time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from dit_run.compute.liveness import Liveness
from dit_run.problems import DitRunError
from dit_run.system.signals import timeout_seconds

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

__all__ = ["ProcessLost", "ProcessProgress", "unreachable"]

_FROM_CHECKPOINT = "from the last checkpoint"
"""How the same command usually continues."""
_SHORTEST_WAIT = 0.001
"""Time between the first two questions to the store (seconds)."""
_MOST_QUESTIONS = 2000
"""Questions that the store, one thread of one process, answers in a second, from all processes."""


class ProcessLost(DitRunError):
    """Another process of the run was killed, failed or froze."""


def unreachable(rank: int, reason: str, continues: str) -> ProcessLost:
    """Return the error of process ``rank``; ``reason`` follows "another process of this run".

    ``continues`` is how the same command continues.
    """
    return ProcessLost(
        f"process {rank} cannot reach another process of this run{reason}. Its output says why; the same command "
        f"continues {continues}"
    )


@dataclass
class ProcessProgress:
    """The progress of all processes of a run, of which there are several."""

    store: Store
    """Values that all processes read."""
    rank: int
    count: int
    """Number of processes."""
    liveness: Liveness | None = None
    """Connections that show which process has ended; None for processes that are threads of one."""
    _shown: float = 0.0

    def lost(self, patience: float = 0.0) -> str:
        """Return the name of a process that has ended: see :meth:`Liveness.lost`."""
        return "" if self.liveness is None else self.liveness.lost(patience)

    def without(self, lost: str, continues: str = _FROM_CHECKPOINT) -> ProcessLost:
        """Return the error of this process when a process, given by name, has ended."""
        return unreachable(self.rank, f": {lost} was killed or failed", continues)

    def show(self) -> None:
        """Let the other processes see that this one works; call it often in work for which they wait."""
        if time.monotonic() - self._shown > timeout_seconds() / 8:
            self._shown = time.monotonic()
            self.store.add(f"progress/{self.rank}", 1)

    def leave(self) -> None:
        """Let the processes that wait for this one know that it has left."""
        with contextlib.suppress(RuntimeError):  # the store is lost, as it is after the first process has left
            self.store.set(f"left/{self.rank}", "")

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show progress all the time in this context, for work that never calls :meth:`show`."""
        over = threading.Event()
        thread = threading.Thread(target=self._show_until, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _show_until(self, over: threading.Event) -> None:
        with contextlib.suppress(RuntimeError):  # the store is lost, which the main thread sees when it asks next
            while not over.wait(timeout_seconds() / 8):
                self.store.add(f"progress/{self.rank}", 1)

    def wait_for(self, rank: int, ready: Callable[[], bool]) -> None:
        """Wait until ``ready`` returns True, which is called again and again.

        Raises ProcessLost once any process has ended, process ``rank`` has left, or it has shown no progress for
        :func:`timeout_seconds`.
        """

        def arrived() -> bool:
            left = self.store.check([f"left/{rank}"])  # first: a process may do what is waited for, and leave
            if ready():
                return True
            if left:
                raise unreachable(self.rank, f": process {rank} has stopped", _FROM_CHECKPOINT)
            return False

        self.wait_until(
            arrived,
            partial(self._of, rank),
            lambda: f"process {self.rank} waits for process {rank}, which has",
            _FROM_CHECKPOINT,
            longest=max(0.02, self.count / _MOST_QUESTIONS),
        )

    def _of(self, rank: int) -> int:
        return self.store.add(f"progress/{rank}", 0)

    def wait_until(
        self,
        ready: Callable[[], bool],
        signs: Callable[[], object],
        waits: Callable[[], str],
        continues: str,
        *,
        longest: float,
    ) -> None:
        """Wait until ``ready`` returns True, which is called again and again, ``longest`` seconds apart at most.

        Raises ProcessLost once a process has ended, or the ``signs`` of progress have been the same for
        :func:`timeout_seconds`; ``waits`` returns who waits for whom, ``continues`` is how the same command continues.
        """
        pause, seen, since = _SHORTEST_WAIT, signs(), time.monotonic()
        while True:
            lost = self.lost()  # first: a process may leave in the store what is waited for, and end
            if ready():
                return
            if lost:
                raise self.without(lost, continues)
            time.sleep(pause)
            pause = min(2 * pause, longest)
            if seen != (seen := signs()):
                since = time.monotonic()
            if time.monotonic() - since > timeout_seconds():
                raise ProcessLost(
                    f"{waits()} shown no progress for {timeout_seconds():g} seconds. Its output says why; the same "
                    f"command continues {continues}"
                )
