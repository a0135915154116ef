"""Shared work: its values, progress and errors reach every process."""

from __future__ import annotations

import threading
from functools import partial

import pytest
from joint_threads import in_threads

from dit_run.compute.distributed import Processes
from dit_run.compute.process_progress import ProcessLost
from dit_run.compute.shared_work import SharedWork
from dit_run.problems import ConfigError, DitRunError, InputError, Problem


class Halted(DitRunError):
    """A failure with a class of its own."""


def test_alone_work_is_called_and_its_progress_shown() -> None:
    shared, shown = SharedWork(), list[tuple[int, int]]()

    def work() -> str:
        shared.advance(1, 2)
        shared.wait_longer()
        return "value"

    assert shared.each(work, lambda *numbers: shown.append(numbers)) == ["value"]
    assert shown == [(1, 2)]


def test_each_gets_the_values_of_all_in_every_round() -> None:
    def work(processes: Processes) -> list[list[str]]:
        shared = SharedWork(processes)
        return [shared.each(partial(str.format, "{}{}", name, processes.rank)) for name in "ab"]

    assert in_threads(3, work) == [[["a0", "a1", "a2"], ["b0", "b1", "b2"]]] * 3


def test_the_first_shows_the_progress_of_all_together() -> None:
    shown: dict[int, list[tuple[int, int]]] = {0: [], 1: [], 2: []}

    def work(processes: Processes) -> None:
        shared, total = SharedWork(processes), 10 * (1 + processes.rank)
        shared.each(lambda: shared.advance(total, total), lambda *numbers: shown[processes.rank].append(numbers))

    assert in_threads(3, work) == [None] * 3
    assert shown[0][-1] == (60, 60) and shown[1] == shown[2] == []
    assert shown[0] == sorted(set(shown[0]))


def test_later_work_of_the_same_processes_knows_nothing_of_earlier_work() -> None:
    def work(processes: Processes) -> list[int]:
        def fail() -> None:
            raise InputError("once")

        with pytest.raises(InputError, match="once"):
            SharedWork(processes).each(fail)
        return SharedWork(processes).each(lambda: processes.rank)

    assert in_threads(2, work) == [[0, 1], [0, 1]]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InputError("a broken image"), InputError("a broken image")),
        (Halted("stopped"), Halted("stopped")),
        (ConfigError([Problem("code", "a wrong key")]), InputError("a wrong key")),
        (ZeroDivisionError("0"), ProcessLost("process 1 of this run failed. Its output says why")),
    ],
)
def test_the_error_of_one_ends_those_that_wait_and_those_at_work(error: Exception, told: DitRunError) -> None:
    failed = threading.Event()

    def work(processes: Processes) -> None:
        shared = SharedWork(processes)

        def part() -> None:
            if processes.rank == 1:
                failed.set()
                raise error
            if processes.rank == 2:
                assert failed.wait(10)
                while True:
                    shared.advance(1, 1)

        shared.each(part)

    first, own, third = in_threads(3, work)
    assert own is error
    for other in (first, third):
        assert (type(other), str(other)) == (type(told), str(told))


def test_who_shows_no_progress_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIT_RUN_TIMEOUT", "0.05")
    given_up = threading.Event()

    def work(processes: Processes) -> None:
        def part() -> None:
            if processes.rank == 1:
                assert given_up.wait(10)
                raise InputError("too late")

        try:
            SharedWork(processes).each(part)
        finally:
            given_up.set()

    lost, late = in_threads(2, work)
    assert isinstance(lost, ProcessLost) and isinstance(late, InputError)
    assert "process 0 waits for 1 other processes, which have shown no progress for 0.05 seconds" in str(lost)
