"""The processes of a run: alone without torch.distributed, together in agreement."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dit_run.compute.distributed import (
    Processes,
    ProcessLost,
    choose_device,
    continued_accumulation,
    join_processes,
    translate_lost_process,
)
from dit_run.problems import InputError


def test_alone_every_agreement_is_immediate() -> None:
    one = Processes()
    assert one.first and one.count == 1
    assert one.any(True) and not one.any(False)
    assert one.broadcast({"a": [1]}) == {"a": [1]}
    assert one.on_first(lambda: 3) == 3
    one.barrier()
    one.leave()


def test_without_a_launcher_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join_processes("cpu") == Processes(0, 1)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match=r"training\.device is cuda:63, but torch sees \d+ CUDA devices; use auto"):
        choose_device("cuda:63")


@pytest.mark.parametrize(("name", "rank", "index"), [("auto", 0, 0), ("auto", 1, 1), ("cuda", 3, 1), ("cuda:1", 0, 1)])
def test_the_chosen_gpu_becomes_the_current_one(
    monkeypatch: pytest.MonkeyPatch, name: str, rank: int, index: int
) -> None:
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert choose_device(name, local_rank=rank) == torch.device("cuda", index)
    assert current == [torch.device("cuda", index)]


def test_one_gpu_for_all_processes_of_a_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="is cuda:1, so all 2 processes of this machine would use one GPU; use cuda,"):
        choose_device("cuda:1", local_rank=1, local_count=2)


@pytest.mark.parametrize(("stored", "batch", "processes", "expected"), [(8, 2, 1, 4), (8, 2, 2, 2), (8, 2, 4, 1)])
def test_accumulation_keeps_the_global_batch(stored: int, batch: int, processes: int, expected: int) -> None:
    assert continued_accumulation(stored, batch, processes) == expected


@pytest.mark.parametrize(
    ("stored", "batch", "processes", "fitting"),
    [
        (12, 2, 4, "1, 2, 3, 6; with training.batch_size=1 the 4 processes fit"),
        (8, 2, 8, "1, 2, 4; with training.batch_size=1"),
        (16, 16, 2, "1; with training.batch_size=8 the 2 processes fit"),
        (8, 3, 1, "none at this batch_size; with training.batch_size=2"),
        (4, 8, 3, "none at this batch_size$"),
    ],
)
def test_processes_that_do_not_fit_are_told_which_do(stored: int, batch: int, processes: int, fitting: str) -> None:
    with pytest.raises(
        InputError, match=f"this run's global batch is {stored}.*Numbers of processes that fit: {fitting}"
    ):
        continued_accumulation(stored, batch, processes)


TOGETHER = """
import os
from dit_run.problems import InputError
from dit_run.compute.distributed import join_processes
all = join_processes("cpu")
def refuse():
    raise InputError("the folder is in use")
try:
    all.on_first(refuse)
    refused = ""
except InputError as error:
    refused = str(error)
connected = all.missing_connections()
if all.rank:
    all.progress.liveness.missing = "its port is closed"
said = str([
    all.any(all.rank == 1), all.any(False),
    all.broadcast({"rank": all.rank, "text": "ä"}), all.on_first(lambda: all.rank), refused,
    connected, all.missing_connections(),
])
with open(f"{os.environ['OUT']}/{all.rank}", "w") as file:
    file.write(said)
all.barrier()
all.leave()
"""


@pytest.mark.slow
def test_two_processes_agree(tmp_path: Path) -> None:
    (tmp_path / "together.py").write_text(TOGETHER)
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", tmp_path / "together.py"],
        env={**os.environ, "OUT": str(tmp_path)}, check=True, timeout=120,
    )  # fmt: skip
    expected = str([
        True, False, {"rank": 0, "text": "ä"}, 0, "the folder is in use",
        "", "if a process is killed or fails, the others may notice it only after 1800 seconds, because 1 of 2 "
        "processes have no connection for that: its port is closed",
    ])  # fmt: skip
    assert [(tmp_path / rank).read_text() for rank in "01"] == [expected, expected]


LAUNCHED = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"RANK": None}, "WORLD_SIZE is 2, but RANK is missing in the environment"),
        ({"RANK": None, "MASTER_ADDR": None}, "WORLD_SIZE is 2, but RANK, MASTER_ADDR are missing in the environment"),
        ({"RANK": "2"}, "RANK is 2, but WORLD_SIZE is 2 in the environment"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two', not a number, in the environment"),
        ({"WORLD_SIZE": "1", "RANK": "1"}, "RANK is 1, but WORLD_SIZE is 1 in the environment"),
        ({"LOCAL_RANK": ""}, "LOCAL_RANK is '', not a number, in the environment"),
    ],
)
def test_an_environment_that_no_launcher_makes_is_refused(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None], told: str
) -> None:
    for name, value in (LAUNCHED | changes).items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as refused:
        join_processes("cpu")
    assert str(refused.value).startswith(f"{told}. Start several processes with torchrun")


@pytest.mark.parametrize(
    "text",
    [
        "[gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 15000ms for recv operation to complete",
        "Application timeout caused pair closure",  # in the backward pass gloo leaves its name out
        "Connection closed by peer [127.0.0.1]:2400",
    ],
)
def test_what_gloo_says_of_a_lost_process_is_translated(text: str) -> None:
    with pytest.raises(ProcessLost, match="process 0 cannot reach another process of this run"):  # noqa: SIM117
        with translate_lost_process(Processes(count=2)):
            raise RuntimeError(text)
    with pytest.raises(RuntimeError, match="shapes differ"), translate_lost_process(Processes(count=2)):
        raise RuntimeError("shapes differ")
