"""Processes of a run that are forks of one process, in which everything is imported once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["fork_processes", "run_script"]


def fork_processes(count: int, work: Callable[[], object]) -> None:
    """Call ``work`` in each of ``count`` processes, whose environment is that of a launcher.

    Raises AssertionError if one of them fails.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update(WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    for rank in range(count):
        if os.fork() == 0:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
            work()
            os._exit(0)
    assert all(os.wait()[1] == 0 for _ in range(count)), count


def run_script(script: str, folder: Path) -> None:
    """Run a script that imports this module, in a folder and in a process without threads, which can be forked."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, "-c", script], cwd=folder, check=True, timeout=120, env=environment)
