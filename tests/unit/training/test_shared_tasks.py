"""Work that the first process shares with those that wait for it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from torch.distributed import HashStore

from dit_run.compute.distributed import Processes
from dit_run.compute.process_progress import ProcessLost, ProcessProgress
from dit_run.problems import DitRunError
from dit_run.system.signals import Interrupted
from dit_run.training.shared_tasks import SharedTasks


@dataclass
class Parts:
    """What a process works on."""

    computed: list[int] = field(default_factory=list)
    waiting: threading.Event = field(default_factory=threading.Event)
    poll: Callable[[], None] = print


@dataclass(frozen=True)
class Squares:
    """The squares of numbers, one of which may fail."""

    size: int
    failing: int = -1

    def count(self, parts: Parts) -> int:
        return self.size

    def results(self, parts: Parts, numbers: Sequence[int]) -> Iterator[int]:
        for number in numbers:
            if number == self.failing:
                raise ValueError(f"no square of {number}")
            parts.computed.append(number)
            yield number * number


@dataclass(frozen=True)
class Bytes:
    """Results of 5 MB, which is more than one entry of the store."""

    def count(self, parts: Parts) -> int:
        return 2

    def results(self, parts: Parts, numbers: Sequence[int]) -> Iterator[bytes]:
        for number in numbers:
            yield bytes([number]) * 5_000_000


class Group:
    """Processes as threads, with one store."""

    def __init__(self, count: int) -> None:
        self.store = HashStore()
        self.parts = [Parts() for _ in range(count)]
        self.works = [self.work(rank, count) for rank in range(count)]

    def work(self, rank: int, count: int) -> SharedTasks[Parts]:
        progress = ProcessProgress(self.store, rank, count) if count > 1 else None
        work = SharedTasks(self.parts[rank], Processes(rank, count, progress=progress), lambda: None, str)
        self.parts[rank].poll = work.poll
        return work

    @contextlib.contextmanager
    def block(self, name: str) -> Iterator[SharedTasks[Parts]]:
        """The first process in the block, the others as its helpers until the end of it."""
        helpers = [threading.Thread(target=self.help, args=(work, name)) for work in self.works[1:]]
        for helper in helpers:
            helper.start()
        try:
            with self.works[0].led(name, contextlib.nullcontext):
                yield self.works[0]
        finally:
            for helper in helpers:
                helper.join(timeout=20)
                assert not helper.is_alive()

    def help(self, work: SharedTasks[Parts], name: str) -> None:
        with work.led(name, contextlib.nullcontext):
            pass


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_all_compute_and_the_first_gathers_in_order(count: int) -> None:
    group, arrived = Group(count), list[int]()
    with group.block("step-1") as first:
        assert first.results(Squares(7), arrived.append) == [0, 1, 4, 9, 16, 25, 36]
        assert first.results(Squares(2)) == [0, 1]
    assert [each.computed for each in group.parts] == [
        [*range(rank, 7, count), *range(rank, 2, count)] for rank in range(count)
    ]
    assert sorted(arrived) == [0, 1, 4, 9, 16, 25, 36]
    with group.block("step-2") as first:
        assert first.results(Squares(3)) == [0, 1, 4]


def test_a_result_may_be_larger_than_an_entry_of_the_store() -> None:
    with Group(3).block("step-1") as first:
        assert first.results(Bytes()) == [bytes([number]) * 5_000_000 for number in range(2)]


@pytest.mark.parametrize("failing", [1, 5])
def test_a_failure_elsewhere_is_that_of_the_first_process(failing: int) -> None:
    group = Group(3)
    with group.block("step-1") as first:
        with pytest.raises(DitRunError, match=f"^no square of {failing}$"):
            first.results(Squares(9, failing))
        assert first.results(Squares(4)) == [0, 1, 4, 9]


def test_a_failure_of_the_first_process_leaves_nobody_behind() -> None:
    with Group(3).block("step-1") as first:
        with pytest.raises(ValueError, match="no square of 3"):
            first.results(Squares(9, 3))
        assert first.results(Squares(4)) == [0, 1, 4, 9]


class Stopped(BaseException):
    """A stop while the first process waits."""


@dataclass(frozen=True)
class Endless:
    """An item of the first process, and one of another that ends with the task alone."""

    def count(self, parts: Parts) -> int:
        return 2

    def results(self, parts: Parts, numbers: Sequence[int]) -> Iterator[int]:
        while 1 in numbers:
            parts.waiting.set()
            parts.poll()
            time.sleep(0.01)
        yield 0


def test_a_stop_of_the_first_process_ends_the_work_of_all() -> None:
    group = Group(2)

    def check() -> None:
        if group.parts[1].waiting.is_set():
            raise Stopped

    group.works[0].check = check
    with pytest.raises(Stopped), group.block("step-1") as first:
        first.results(Endless())


def test_a_stop_of_another_process_is_one_of_the_first() -> None:
    group = Group(2)

    def check() -> None:
        if group.parts[1].waiting.is_set():
            raise Interrupted

    group.works[1].check = check
    with pytest.raises(Interrupted), group.block("step-1") as first:
        first.results(Endless())


def test_nothing_stays_in_the_store() -> None:
    group = Group(2)
    for name in ("step-1", "step-2"):
        with group.block(name) as first, contextlib.suppress(DitRunError):
            first.results(Squares(9, 3))
    with group.block("step-3"):
        kept = group.store.num_keys()
    with group.block("step-4"):
        assert group.store.num_keys() == kept + 1  # the end of step-3


def test_a_process_without_progress_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIT_RUN_TIMEOUT", "0.1")
    first = Group(2).works[0]
    with pytest.raises(ProcessLost, match="process 0 waits for process 1, which has shown no"):
        first.results(Squares(2))
