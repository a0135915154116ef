"""A warm parent: everything imported, nothing computed, one thread; each run is a fork of it under the shim.

Reads one JSON request a line and answers each with the id of the run's first process at once and, when all its
processes have ended, with their exit statuses. Each run is a process group of its own.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import pkgutil
import sys
import threading
import traceback
from typing import Any

from .launching import launches, wait_for_all


def main() -> None:
    shim = ctypes.CDLL(sys.argv[1])
    shim.shim_arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_long, ctypes.c_int]
    import_all()
    # A run starts no more loading processes than there are cores, and some are to have four.
    os.sched_getaffinity = lambda pid: set(range(8))  # type: ignore[assignment,misc]
    assert threading.active_count() == 1
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        ranks = _forked(shim, request)
        print(ranks[0], flush=True)
        print(json.dumps(wait_for_all(ranks)), flush=True)


def import_all() -> None:
    """Import all that a run imports, so that its forks import nothing again."""
    from PIL import Image

    import dit_run_plugins

    Image.preinit()
    sharding = ("torch.distributed.fsdp", "torch.distributed.tensor", "torch.distributed.device_mesh")
    late = ("torch._dynamo", "rich.progress")  # torch imports its compiler at the first step of an optimizer
    for name in ("dit_run.cli.train", "dit_run.cli.progress", "dit_run.training.run", *late, *sharding):
        importlib.import_module(name)
    for module in pkgutil.walk_packages(dit_run_plugins.__path__, "dit_run_plugins."):
        importlib.import_module(module.name)
    gc.collect()
    gc.freeze()  # else each fork copies the memory that its first collection walks through


def _forked(shim: ctypes.CDLL, request: dict[str, Any]) -> list[int]:
    """Fork the processes of a run; their ids, by rank."""
    ranks: list[int] = []
    for rank, launch in enumerate(launches(request["processes"])):
        child = os.fork()
        if child == 0:
            os.environ.update(launch)
            _run(shim, request, rank)
        ranks.append(child)
        os.setpgid(child, ranks[0])
    return ranks


def _run(shim: ctypes.CDLL, request: dict[str, Any], rank: int) -> None:
    from dit_run.cli.main import main as command

    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(request["directory"])
    if request["logs"]:
        shim.shim_log(request["logs"][rank].encode())
    mode = request["mode"] if rank == request["rank"] else 0
    shim.shim_arm(request["folder"].encode(), mode, request["point"], request["error"])
    status = 70
    try:
        status = command(request["arguments"])
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        shim.shim_disarm()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
