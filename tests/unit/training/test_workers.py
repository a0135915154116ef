"""Workers: the effect of a stop signal to all processes."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection

import pytest

from dit_run.training.workers import worker_context


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
