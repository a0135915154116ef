"""Neighbours: the first process of a machine finds a value, and the others get it."""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import pytest
from joint_threads import in_threads

from dit_run.compute.distributed import Processes
from dit_run.compute.neighbours import Neighbours
from dit_run.compute.process_progress import ProcessLost
from dit_run.problems import ConfigError, DitRunError, InputError, Problem


@pytest.fixture(autouse=True)
def temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_process_alone_finds_its_values_itself() -> None:
    neighbours, values = Neighbours.of(Processes()), [object(), object()]
    assert [neighbours.share(lambda value=value: value) for value in values] == values


def test_the_first_finds_each_value_and_the_others_get_it(temporary_files: Path) -> None:
    found: list[str] = []

    def work(processes: Processes) -> list[str]:
        def find(name: str) -> str:
            found.append(f"{name} by {processes.rank}")
            return name

        neighbours = Neighbours.of(processes)
        return [neighbours.share(lambda name=name: find(name)) for name in "ab"]

    assert in_threads(3, work) == [["a", "b"]] * 3
    assert found == ["a by 0", "b by 0"]
    assert list(temporary_files.iterdir()) == []


def test_a_value_that_cannot_be_pickled_is_found_by_each(temporary_files: Path) -> None:
    def work(processes: Processes) -> int:
        neighbours = Neighbours.of(processes)
        return neighbours.share(lambda: lambda: processes.rank)()

    assert in_threads(3, work) == [0, 1, 2]


def test_without_a_place_for_files_each_finds_the_value(temporary_files: Path) -> None:
    temporary_files.rmdir()
    assert in_threads(2, lambda processes: Neighbours.of(processes).share(lambda: processes.rank)) == [0, 1]


class Unwritable:
    """It fails when a part of it is in the file already."""

    def __reduce__(self) -> tuple[object, ...]:
        raise RuntimeError("locks are only shared by inheritance")


class Unreadable:
    def __reduce__(self) -> tuple[object, ...]:
        return int, ("no number",)


@pytest.mark.parametrize("kind", [Unwritable, Unreadable])
def test_a_value_that_cannot_be_handed_over_is_found_by_each(temporary_files: Path, kind: type) -> None:
    values = in_threads(3, lambda processes: Neighbours.of(processes).share(lambda: (processes.rank, kind()))[0])
    assert values == [0, 1, 2]
    assert list(temporary_files.iterdir()) == []


def test_a_full_disk_lets_each_find_the_value(temporary_files: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        found = in_threads(
            2, lambda processes: Neighbours.of(processes).share(lambda: bytes(10_000) + b"%d" % processes.rank)
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert found == [bytes(10_000) + b"0", bytes(10_000) + b"1"]
    assert list(temporary_files.iterdir()) == []


def test_those_who_find_a_value_themselves_may_take_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIT_RUN_TIMEOUT", "0.2")

    def work(processes: Processes) -> tuple[int, str]:
        neighbours = Neighbours.of(processes)

        def find() -> tuple[int, Unreadable]:
            time.sleep(0.6 * processes.rank)
            return processes.rank, Unreadable()

        return neighbours.share(find)[0], neighbours.share(lambda: "next")

    assert in_threads(3, work) == [(0, "next"), (1, "next"), (2, "next")]


@pytest.mark.parametrize("leaving", [0, 1])
def test_a_process_that_has_stopped_is_not_waited_for(leaving: int) -> None:
    def work(processes: Processes) -> None:
        neighbours = Neighbours.of(processes)
        if processes.rank == leaving:
            assert processes.progress is not None
            processes.progress.leave()
        else:
            neighbours.share(lambda: None)

    waiting = in_threads(2, work)[1 - leaving]
    assert isinstance(waiting, ProcessLost)
    assert f"process {1 - leaving} cannot reach another process of this run: process {leaving} has stopped" in str(
        waiting
    )


def test_each_machine_finds_its_own_values() -> None:
    def work(processes: Processes) -> int:
        machine = processes.rank % 2
        return Neighbours(processes, [machine, machine + 2], str(machine)).share(lambda: processes.rank)

    assert in_threads(4, work) == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("error", "received"),
    [
        (DitRunError("a failure"), DitRunError),
        (InputError("no such folder"), InputError),
        (ConfigError([Problem("code", "a mistake")]), InputError),
    ],
)
def test_an_error_of_the_first_reaches_all(error: DitRunError, received: type[DitRunError]) -> None:
    def work(processes: Processes) -> None:
        def find() -> None:
            raise error

        Neighbours.of(processes).share(find)

    own, *others = in_threads(3, work)
    assert own is error
    assert [(type(each), str(each)) for each in others] == [(received, str(error))] * 2


def test_a_silent_first_process_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIT_RUN_TIMEOUT", "0.2")

    def work(processes: Processes) -> None:
        neighbours = Neighbours.of(processes)
        if processes.rank:
            neighbours.share(lambda: None)

    left, waiting = in_threads(2, work)
    assert left is None
    assert isinstance(waiting, ProcessLost)
    assert "process 1 waits for process 0, which has shown no progress for 0.2 seconds" in str(waiting)
