"""Processes of a run as torchrun starts and ends them, for forks of a warm one."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence

__all__ = ["launches", "wait_for_all"]


def launches(count: int) -> list[dict[str, str]]:
    """The variables with which torchrun starts each process, by rank; those of one alone are none."""
    if count == 1:
        return [{}]
    common = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
    return [
        {name: str(value) for name, value in {"RANK": rank, "LOCAL_RANK": rank, **common}.items()}
        for rank in range(count)
    ]


def wait_for_all(ranks: Sequence[int]) -> list[int]:
    """The exit statuses of all; once a process fails, the others are asked to stop, as torchrun asks them."""
    ended: dict[int, int] = {}
    while len(ended) < len(ranks):
        pid, status = os.wait()
        ended[pid] = os.waitstatus_to_exitcode(status)
        if status:
            for other in set(ranks) - ended.keys():
                os.kill(other, signal.SIGTERM)
    return [ended[pid] for pid in ranks]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
