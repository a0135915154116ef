"""Liveness: the end of a process, however it comes, is known to all others at once."""

from __future__ import annotations

import json
import os
import resource
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from torch.distributed import HashStore

from dit_run.compute.liveness import Liveness
from dit_run.compute.process_progress import ProcessLost, ProcessProgress

HOST = socket.gethostname()


@contextmanager
def joined(count: int, host: str = "127.0.0.1", idle: float = 60) -> Iterator[list[Liveness]]:
    """The connections of as many processes, all of which are this one."""
    store = HashStore()
    with ThreadPoolExecutor(count) as threads:
        all_of_them = list(threads.map(lambda rank: Liveness.join(store, rank, count, host, idle=idle), range(count)))
    try:
        yield all_of_them
    finally:
        for each in all_of_them:
            each.close()


@pytest.mark.parametrize("ended", [0, 1, 2])
def test_all_learn_which_process_has_ended(ended: int) -> None:
    with joined(3) as processes:
        assert [each.lost() for each in processes] == ["", "", ""]
        processes[ended].close(failed=True)
        others = [each for rank, each in enumerate(processes) if rank != ended]
        assert [each.lost(10) for each in others] == [f"process {ended} on {HOST}"] * 2


@pytest.mark.parametrize("done", [0, 1])
def test_a_process_that_leaves_after_its_work_is_not_lost(done: int) -> None:
    with joined(3) as processes:
        processes[done].close()
        assert [each.lost(0.1) for each in processes] == ["", "", ""]
        if done:  # without the first process there is nobody who knows all
            processes[2].close(failed=True)
            assert processes[0].lost(10) == f"process 2 on {HOST}"


def test_an_unused_connection_is_kept_in_use_by_empty_lines_which_mean_nothing() -> None:
    store = HashStore()
    with socket.create_server(("127.0.0.1", 0)) as server:
        store.set("liveness", json.dumps([*server.getsockname(), "secret", "elsewhere", ""]))
        with ThreadPoolExecutor(1) as thread:
            joining = thread.submit(Liveness.join, store, 1, 2, "127.0.0.1", idle=0.01)
            connection, _ = server.accept()
            connection.settimeout(10)
            connection.sendall(b"\n")
            second = joining.result()
        with connection, connection.makefile("rw") as lines:
            assert [lines.readline() for _ in range(3)] == [f"secret 1 {HOST}\n", "\n", "\n"]
            lines.write("\n")
            lines.flush()
            assert second.lost(0.1) == ""
            connection.shutdown(socket.SHUT_WR)
            assert second.lost(10) == "process 0 on elsewhere"
        second.close()
    with joined(2, idle=0.01) as processes:
        assert [each.lost(0.2) for each in processes] == ["", ""]


def test_many_processes_need_a_first_one_that_may_open_many_files() -> None:
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = allowed // 8 + 1
    store = HashStore()
    first, last = (Liveness.join(store, rank, count, "127.0.0.1") for rank in (0, count - 1))
    assert last.missing == (
        f"process 0 on {HOST} may open only {allowed} files; raise the limit with ulimit -n {8 * count}"
    )
    for each in (first, last):
        each.close(failed=True)
        assert each.lost() == ""


def test_another_program_that_connects_is_sent_away() -> None:
    store = HashStore()
    first = Liveness.join(store, 0, 2, "127.0.0.1")
    _, port, *_ = json.loads(store.get("liveness"))
    with socket.create_connection(("127.0.0.1", port)) as silent, socket.create_connection(("127.0.0.1", port)) as web:
        web.sendall(b"GET / HTTP/1.0\r\n")
        with pytest.raises(ConnectionResetError):
            web.recv(10)
        second = Liveness.join(store, 1, 2, "127.0.0.1")
        assert [each.lost() for each in (first, second)] == ["", ""]
        second.close(failed=True)
        assert first.lost(10) == f"process 1 on {HOST}"
        first.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        silent.close()


def test_a_connection_that_the_network_breaks_is_not_the_end_of_a_process() -> None:
    store = HashStore()
    first = Liveness.join(store, 0, 3, "127.0.0.1")
    _, port, secret, *_ = json.loads(store.get("liveness"))
    broken = socket.create_connection(("127.0.0.1", port))
    broken.sendall(f"{secret} 1 elsewhere\n".encode())
    broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    broken.close()
    second = Liveness.join(store, 2, 3, "127.0.0.1")
    assert [each.lost(0.2) for each in (first, second)] == ["", ""]
    second.close(failed=True)
    assert first.lost(10) == f"process 2 on {HOST}"
    first.close()


def test_a_process_that_cannot_connect_says_so_and_is_not_lost() -> None:
    store = HashStore()
    first = Liveness.join(store, 0, 2, "127.0.0.1")
    told = json.loads(store.get("liveness"))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        told[:2] = closed.getsockname()
    store.set("liveness", json.dumps(told))
    second = Liveness.join(store, 1, 2, "127.0.0.1")
    assert second.missing == (
        f"process 1 on {HOST} cannot connect to process 0 at 127.0.0.1, port {told[1]} (Connection refused); open the "
        "ports between the machines of this run"
    )
    second.close()
    assert [each.lost(0.1) for each in (first, second)] == ["", ""]
    first.close()


def test_a_process_that_the_first_one_does_not_know_says_so() -> None:
    store = HashStore()
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:
        store.set("liveness", json.dumps([*server.getsockname(), "secret", "elsewhere", ""]))
        joining = thread.submit(Liveness.join, store, 1, 2, "127.0.0.1")
        connection, _ = server.accept()
        connection.recv(100)
        connection.close()
        second = joining.result()
    assert "(it was closed there); open the ports between the machines of this run" in second.missing
    second.close()


def test_the_end_of_a_process_whose_fork_lives_on_is_known() -> None:
    with joined(2) as processes:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        processes[1].close(failed=True)
        assert processes[0].lost(10) == f"process 1 on {HOST}"
        os.write(writing, b"\n")
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)


def test_nothing_is_left_of_closed_connections() -> None:
    def opened() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), sum(
            each.name == "liveness" for each in threading.enumerate()
        )

    before = opened()
    with joined(3):
        assert opened()[1] == before[1] + 3
    assert opened() == before


def test_the_first_process_is_found_where_the_store_is_on_another_machine() -> None:
    elsewhere = "192.0.2.1"  # an address for documentation, which no machine has
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((elsewhere, 9))
        except OSError as error:
            pytest.skip(f"this machine has no way to others: {error}")
    with joined(2, elsewhere) as processes:
        processes[1].close(failed=True)
        assert processes[0].lost(10) == f"process 1 on {HOST}"


def test_who_waits_is_told_of_any_process_that_ends_and_not_of_one_that_has_left_its_result() -> None:
    store = HashStore()
    with joined(3) as processes:
        first = ProcessProgress(store, 0, 3, processes[0])
        asked = threading.Event()

        def nothing() -> bool:
            asked.set()
            return False

        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(first.wait_for, 1, nothing)
            assert asked.wait(10)
            processes[2].close(failed=True)
            with pytest.raises(ProcessLost) as told:
                waiting.result(10)
        assert str(told.value) == (
            f"process 0 cannot reach another process of this run: process 2 on {HOST} was killed or failed. Its output "
            "says why; the same command continues from the last checkpoint"
        )
        first.wait_for(1, lambda: True)
