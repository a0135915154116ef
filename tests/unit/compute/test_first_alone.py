"""Work of the first process alone, for which the others wait as long as it shows progress."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHARED = """
import os, socket, sys, time
from dit_run.compute.distributed import join_processes
from dit_run.compute.process_progress import ProcessLost

def work(processes, seconds, shows):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)
        if shows:
            processes.show_progress()

def train(rank):
    processes = join_processes("cpu")
    for name, seconds, shows in (("short", 0.0, False), ("long", 2.5, True), ("frozen", 2.5, False)):
        try:
            with processes.first_alone(name):
                if processes.first:
                    work(processes, seconds, shows)
                    open(name, "w").close()
            told = os.path.exists(name)
        except ProcessLost as error:
            told = str(error)
        with open(f"rank-{rank}", "a") as file:
            print(told, file=file)

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
os.environ.update(WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
for rank in (1, 0):  # the first process, which holds the store, is the parent and ends last
    if rank == 0 or os.fork() == 0:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
        train(rank)
        if rank:
            os._exit(0)
os.wait()
"""


@pytest.mark.slow
def test_others_wait_for_any_time_but_not_for_a_frozen_process(tmp_path: Path) -> None:
    environment = {**os.environ, "DIT_RUN_TIMEOUT": "1"}
    subprocess.run([sys.executable, "-c", SHARED], cwd=tmp_path, check=True, timeout=120, env=environment)
    assert (tmp_path / "rank-0").read_text().split() == ["True", "True", "True"]
    short, long, frozen = (tmp_path / "rank-1").read_text().splitlines()
    assert (short, long) == ("True", "True")
    assert frozen.startswith("process 1 waits for process 0, which has shown no progress for 1 seconds.")
