"""Launchers: what torchrun and srun tell each process."""

from __future__ import annotations

import pytest

from dit_run.compute.launchers import Launch, find_launch, shutdown_seconds
from dit_run.problems import InputError

TORCHRUN = {
    "WORLD_SIZE": "6", "RANK": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "3", "MASTER_ADDR": "a", "MASTER_PORT": "1",
}  # fmt: skip
SLURM = {
    "SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_JOB_ID": "1000", "SLURM_STEP_ID": "3", "SLURM_STEP_NODELIST": "gpu-a[03-05,8],cpu1",
}  # fmt: skip


def test_without_a_launcher_a_process_is_alone() -> None:
    assert find_launch({}) == Launch(0, 1, 0, 1, "env://")
    assert find_launch({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}).count == 1


def test_torchrun_gives_ranks_and_its_own_meeting_point() -> None:
    assert find_launch(TORCHRUN) == Launch(4, 6, 1, 3, "env://", "a")
    assert find_launch(TORCHRUN | SLURM) == Launch(4, 6, 1, 3, "env://", "a")  # srun started torchrun on each machine


def test_a_task_of_srun_meets_the_others_on_the_first_machine() -> None:
    assert find_launch(SLURM) == Launch(5, 8, 1, 4, "tcp://gpu-a03:27003", "gpu-a03")
    assert find_launch(SLURM | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "99"}).address == "tcp://10.0.0.1:99"


@pytest.mark.parametrize(
    ("nodes", "host"),
    [("one", "one"), ("one,two", "one"), ("n[7,9]", "n7"), ("n[001-100]x,m", "n001x"), ("a-b.c[1-2],d[3]", "a-b.c1")],
)
def test_the_first_machine_of_a_list(nodes: str, host: str) -> None:
    assert find_launch(SLURM | {"SLURM_STEP_NODELIST": nodes}).address == f"tcp://{host}:27003"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"SLURM_PROCID": ""}, "SLURM_PROCID is '', not a number, in the environment of a task of srun"),
        ({"SLURM_STEP_NUM_TASKS": "many"}, "SLURM_STEP_NUM_TASKS is 'many', not a number"),
        ({"SLURM_STEP_NODELIST": ""}, "cannot find the first machine; set MASTER_ADDR to it"),
    ],
)
def test_an_incomplete_environment_of_slurm_is_refused(changes: dict[str, str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        find_launch(SLURM | changes)


def test_torchrun_gives_thirty_seconds_unless_told_otherwise() -> None:
    assert shutdown_seconds({"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "90"}) is None
    assert shutdown_seconds({"TORCHELASTIC_RUN_ID": "none"}) == 30
    assert shutdown_seconds({"TORCHELASTIC_RUN_ID": "none", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "90"}) == 90
