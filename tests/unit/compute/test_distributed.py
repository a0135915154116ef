"""The processes of a run: alone without torch.distributed, together in agreement."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dit_run.compute.distributed import (
    Processes,
    ProcessLost,
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
