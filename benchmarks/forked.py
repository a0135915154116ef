"""Work in several processes of this machine, forked from this one and connected as a launcher's are."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from dit_run.compute.distributed import Processes, join_processes

__all__ = ["in_processes"]


def in_processes(count: int, work: Callable[[Processes], int]) -> list[int]:
    """Return what ``work`` returns in each of ``count`` processes, by rank."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        children = [_fork(work, rank, count, port, Path(folder)) for rank in range(count)]
        if any([os.waitpid(child, 0)[1] for child in children]):
            raise SystemExit("a process failed")
        return [int((Path(folder) / str(rank)).read_text()) for rank in range(count)]


def _fork(work: Callable[[Processes], int], rank: int, count: int, port: int, folder: Path) -> int:
    if child := os.fork():
        return child
    if count > 1:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    processes = join_processes("cpu")
    (folder / str(rank)).write_text(str(work(processes)))
    processes.barrier()
    processes.leave()
    os._exit(0)
