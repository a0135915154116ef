"""Worker pool: the order of results, and what a worker that fails, dies or freezes leaves behind."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from dit_run.compute.fork_server import worker_context
from dit_run.compute.worker_pool import WorkerFailed, WorkerPool
from dit_run.problems import DitRunError, InputError


def tell_parent(connection: Connection) -> None:
    connection.send(os.getppid())
    connection.recv()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_they_are_forked_from_outlives_a_stop_of_all(number: signal.Signals) -> None:
    context = worker_context()
    ours, theirs = context.Pipe()
    process = context.Process(target=tell_parent, args=(theirs,))
    process.start()
    os.kill(ours.recv(), number)
    ours.send("go on")
    process.join()
    assert process.exitcode == 0


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def pool(work: Callable[[int], Any], workers: int = 2, **options: Any) -> WorkerPool[int, Any]:
    return WorkerPool(work, workers, ahead=2, role="worker", advice="Use none.", **options)


def filled(count: int) -> torch.Tensor:
    return torch.full((count,), float(count))


def refuse(item: int) -> int:
    if item == 3:
        raise InputError("three is refused")
    return item


def fail(item: int) -> None:
    raise LookupError("not here")


def end(item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def freeze(item: int) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def exhaust(item: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    kept = []
    while True:
        kept.append(os.open(os.devnull, os.O_RDONLY))


def safe_path(item: int) -> bool:
    import sys

    return sys.flags.safe_path


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    assert not multiprocessing.active_children()


def test_results_come_in_the_order_of_the_items() -> None:
    with pool(filled) as workers:
        assert [values.tolist() for values in workers.map(range(7))] == [[float(n)] * n for n in range(7)]


def test_a_second_call_uses_the_same_workers() -> None:
    with pool(refuse) as workers:
        assert list(workers.map([1])) == [1]
        assert list(workers.map([])) == []
        assert list(workers.map([1, 2])) == [1, 2]


def test_what_the_work_raises_is_raised_in_its_turn() -> None:
    with pool(refuse) as workers:
        results = workers.map(range(9))
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(InputError, match="three is refused"):
            next(results)


def test_an_error_of_the_code_has_the_traceback_of_the_worker() -> None:
    with pool(fail, 1) as workers, pytest.raises(LookupError, match="not here") as raised:
        next(workers.map([1]))
    assert 'raise LookupError("not here")' in raised.value.__notes__[0]


def test_a_killed_worker_is_reported_at_once() -> None:
    with (
        pool(end) as workers,
        pytest.raises(WorkerFailed, match=r"^a worker was killed, perhaps because memory ran out\. Use none\.$"),
    ):
        next(workers.map([1]))


def test_a_frozen_worker_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIT_RUN_TIMEOUT", "0.5")
    with pool(freeze, 1) as workers, pytest.raises(WorkerFailed, match=r"^no worker answered for 0\.5 seconds"):
        next(workers.map([1]))


def test_the_caller_can_leave_while_it_waits() -> None:
    def leave() -> None:
        raise KeyboardInterrupt

    with pool(freeze, 1, waiting=leave) as workers, pytest.raises(KeyboardInterrupt):
        next(workers.map([1]))


def test_a_worker_with_too_many_open_files_names_the_limit() -> None:
    with pool(exhaust, 1) as workers, pytest.raises(DitRunError, match=r"may open only \d+ files at a time.*ulimit -n"):
        next(workers.map([1]))


def test_workers_need_few_open_files() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    worker_context()
    used = open_files()
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 16, before[1]))
    try:
        with pool(filled, 2) as workers:
            assert len([values for values in workers.map(range(200))]) == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_workers_do_not_import_from_the_working_directory() -> None:
    before = dict(os.environ)
    with pool(safe_path, 1) as workers:
        assert list(workers.map([1])) == [True]
    assert dict(os.environ) == before
