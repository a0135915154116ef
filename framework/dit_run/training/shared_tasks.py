"""Shared tasks: work that the first process gives out while the others wait for it, and whose items all compute.

Tasks and results travel through the store of the run. So no process waits in a collective operation for one that works
for hours, and one that fails, or stops, leaves no other behind.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from dit_run.compute.distributed import Processes, translate_lost_process
from dit_run.compute.mailbox import Mailbox
from dit_run.compute.process_progress import ProcessLost, ProcessProgress
from dit_run.problems import DitRunError
from dit_run.system.signals import Interrupted

__all__ = ["SharedTasks", "Task"]

P = TypeVar("P")
P_contra = TypeVar("P_contra", contravariant=True)
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_GIVEN, _OVER = "tasks", "tasks-over"
"""Keys of the number of tasks that were given out, and of those that are over."""
_ASKED_EVERY = 0.25
"""Time between two questions of a helper whether its task is over (seconds)."""


class Task(Protocol[P_contra, T_co]):
    """Work on parts that each process has, in items, each of which is a function of its number. Picklable."""

    def count(self, parts: P_contra) -> int:
        """Return the number of items."""
        ...

    def results(self, parts: P_contra, numbers: Sequence[int]) -> Iterator[T_co]:
        """Yield the picklable results of the items of these numbers, in this order."""
        ...


class _Failure(NamedTuple):
    """The failure of an item, in place of its result."""

    text: str | None
    """Its text; None where the process was asked to stop."""


class _TaskOver(BaseException):
    """The first process no longer waits for the results. It is no Exception, so that plugins do not catch it."""


@dataclass
class SharedTasks(Generic[P]):
    """The tasks of a run: process r of n computes items r, r + n, r + 2n and so on, and the first gathers them."""

    parts: P
    """The input of tasks."""
    processes: Processes
    check: Callable[[], None]
    """Called often in every process; it raises Interrupted where a stop was requested, which ends the task."""
    describe: Callable[[Exception], str]
    """Returns the text of a failure."""
    _number: int = 0
    """Number of the last task that was given out or taken, from 1."""
    _asked: float = 0.0
    _keys: list[str] = field(default_factory=list)
    """Keys in the store that nobody needs once all processes have left :meth:`led`."""

    @contextlib.contextmanager
    def led(self, name: str, helping: Callable[[], contextlib.AbstractContextManager[object]]) -> Iterator[None]:
        """Let the first process work in the block for any time; the others compute their items of its tasks meanwhile.

        ``name`` is as in :meth:`Processes.first_alone`, ``helping`` returns the context in which a process helps. All
        processes agree on something in between two blocks.
        """
        progress = self.processes.progress
        if progress is not None and self.processes.first:
            while self._keys:
                Mailbox(progress.store).remove(self._keys.pop())
        with self.processes.first_alone(name, partial(self._help, helping)):
            yield

    def results(self, task: Task[P, T], arrived: Callable[[T], object] | None = None) -> list[T]:
        """Return the results of all items in order, in the first process; ``arrived`` gets each once it is there.

        Raises DitRunError for an item that fails in another process, Interrupted where another process was asked to
        stop, and ProcessLost for a process without progress.
        """
        count, found = task.count(self.parts), dict[int, T]()
        with translate_lost_process(self.processes), contextlib.closing(self._gathered(task, count)) as gathered:
            for number, result in gathered:
                found[number] = result
                if arrived is not None:
                    arrived(result)
        return [found[number] for number in range(count)]

    def _gathered(self, task: Task[P, T], count: int) -> Generator[tuple[int, T], None, None]:
        progress, own = self.processes.progress, range(0, count, self.processes.count)
        if progress is None or count == 1:
            yield from zip(own, task.results(self.parts, own), strict=True)
            return
        self._give(task, Mailbox(progress.store))
        try:
            yield from zip(own, task.results(self.parts, own), strict=True)
            for number in range(count):
                if number not in own:
                    yield number, self._take(number, progress)
        finally:
            self._keys += [self._key(number) for number in range(count) if number not in own]
            progress.store.add(_OVER, 1)

    def _give(self, task: Task[P, Any], mailbox: Mailbox) -> None:
        self._number += 1
        self._keys.append(f"task/{self._number}")
        mailbox.put(self._keys[-1], task)
        mailbox.store.add(_GIVEN, 1)

    def _take(self, number: int, progress: ProcessProgress) -> Any:
        """Return the result of an item of another process, and free its memory."""
        mailbox, key = Mailbox(progress.store), self._key(number)

        def arrived() -> bool:
            self.check()
            progress.show()
            return mailbox.has(key)

        progress.wait_for(number % self.processes.count, arrived)
        result = mailbox.get(key)
        mailbox.remove(key)
        if not isinstance(result, _Failure):
            return result
        if result.text is None:
            raise Interrupted
        raise DitRunError(result.text)

    def _key(self, number: int) -> str:
        return f"result/{self._number}/{number}"

    # ----------------------------------------------------------------------------------------------------------- others

    def poll(self) -> None:
        """Show progress, and end the items of this process at a stop and where the task is over; called often.

        Raises ProcessLost if another process has ended.
        """
        self.processes.show_progress()
        self.processes.require_all()
        self.check()
        if time.monotonic() - self._asked > _ASKED_EVERY:
            self._asked = time.monotonic()
            if self._is_over():
                raise _TaskOver

    def _is_over(self) -> bool:
        progress = self.processes.progress
        return progress is None or progress.store.add(_OVER, 0) >= self._number

    def _help(self, helping: Callable[[], contextlib.AbstractContextManager[object]]) -> None:
        """Compute this process's items of the task that was given out last, unless it has done so."""
        progress = self.processes.progress
        if progress is None or progress.store.add(_GIVEN, 0) == self._number:
            return
        self._number = progress.store.add(_GIVEN, 0)
        if not self._is_over():
            self._take_part(Mailbox(progress.store), helping)

    def _take_part(self, mailbox: Mailbox, helping: Callable[[], contextlib.AbstractContextManager[object]]) -> None:
        task: Task[P, Any] = mailbox.get(f"task/{self._number}")
        left = list(range(self.processes.rank, task.count(self.parts), self.processes.count))
        with contextlib.suppress(_TaskOver):
            try:
                with helping():
                    self._compute(task, left, mailbox)
            except Interrupted:
                if left:
                    mailbox.put(self._key(left[0]), _Failure(None))
            except ProcessLost:
                raise
            except Exception as error:
                if not left:
                    raise
                mailbox.put(self._key(left[0]), _Failure(self.describe(error)))

    def _compute(self, task: Task[P, Any], left: list[int], mailbox: Mailbox) -> None:
        """Compute the items whose numbers are left, and remove each of them once its result is there."""
        for result in task.results(self.parts, tuple(left)) if left else ():
            mailbox.put(self._key(left[0]), result)
            del left[0]
