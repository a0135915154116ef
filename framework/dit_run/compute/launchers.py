"""The place that a launcher, torchrun or Slurm's srun, gives each of its processes. Light: it imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dit_run.problems import InputError

__all__ = ["Launch", "find_launch", "shutdown_seconds"]


@dataclass(frozen=True)
class Launch:
    """The place of this process among those that a launcher started; a process without a launcher is alone."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    """Rank among the processes of this machine."""
    local_count: int = 1
    """Number of processes of this machine."""
    address: str = "env://"
    """Address at which the processes meet, as torch.distributed's ``init_method``."""
    host: str = ""
    """The machine of that address; empty for a process without a launcher."""


def find_launch(environment: Mapping[str, str]) -> Launch:
    """Return the place that torchrun's variables give, or those of a step of srun.

    Raises InputError for an environment that neither makes.
    """
    if "WORLD_SIZE" not in environment and environment.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        return _by_slurm(environment)
    if fault := _fault_of(environment):
        raise InputError(
            f"{fault} in the environment. Start several processes with torchrun --nproc-per-node=N, or a single one "
            "after: unset WORLD_SIZE RANK LOCAL_RANK"
        )
    count = int(environment.get("WORLD_SIZE", "1"))
    local_count = environment.get("LOCAL_WORLD_SIZE", "")
    return Launch(
        int(environment.get("RANK", "0")),
        count,
        int(environment.get("LOCAL_RANK", "0")),
        int(local_count) if local_count.isdecimal() else count,
        host=environment.get("MASTER_ADDR", ""),
    )


def shutdown_seconds(environment: Mapping[str, str]) -> float | None:
    """Return the time that torchrun gives a process after SIGTERM, as far as the environment tells; None without it."""
    if "TORCHELASTIC_RUN_ID" not in environment:
        return None
    given = environment.get("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "")
    return float(given) if given.isdecimal() else 30.0


def _fault_of(environment: Mapping[str, str]) -> str | None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        if not environment.get(name, "0").isdecimal():
            return f"{name} is {environment[name]!r}, not a number,"
    count = int(environment.get("WORLD_SIZE", "1"))
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
    if count > 1 and missing:
        return f"WORLD_SIZE is {count}, but {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    rank = int(environment.get("RANK", "0"))
    return None if rank < count else f"RANK is {rank}, but WORLD_SIZE is {count}"


def _by_slurm(environment: Mapping[str, str]) -> Launch:
    """Return the place of a task of srun.

    The processes meet on the first machine, at a port made from the job's number, unless MASTER_ADDR and MASTER_PORT
    are set.
    """
    numbers = {name: environment.get(f"SLURM_{name}", "") for name in ("PROCID", "STEP_NUM_TASKS", "LOCALID", "JOB_ID")}
    for name, value in numbers.items():
        if not value.isdecimal():
            raise InputError(f"SLURM_{name} is {value!r}, not a number, in the environment of a task of srun")
    rank, count, local_rank, job = (int(value) for value in numbers.values())
    of_machine = re.match(r"\d+", environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    host = environment.get("MASTER_ADDR") or _first_host(environment.get("SLURM_STEP_NODELIST", ""))
    step = int(found.group()) if (found := re.match(r"\d+", environment.get("SLURM_STEP_ID", ""))) else 0
    port = environment.get("MASTER_PORT") or str(20_000 + (job * 7 + step) % 20_000)
    local_count = int(of_machine.group()) if of_machine else count
    return Launch(rank, count, local_rank, local_count, f"tcp://{host}:{port}", host)


def _first_host(nodes: str) -> str:
    """Return the first machine of a list of Slurm: ``gpu-a3`` of ``gpu-a[3-5,8],cpu1``."""
    found = re.match(r"([^\[,]+)(?:\[(\d+)[^\]]*\])?([^,\[]*)", nodes)
    if found is None:
        raise InputError(
            f"SLURM_STEP_NODELIST is {nodes!r}, so this task of srun cannot find the first machine; set MASTER_ADDR to "
            "it"
        )
    return "".join(part or "" for part in found.groups())
