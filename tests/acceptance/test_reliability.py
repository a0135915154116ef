"""A part of ``python -m tests.endurance`` that every test run has time for, and what must hold of processes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from endurance import grid, parts, signals
from endurance.forge import ONE_THREAD, Forge
from endurance.parts import Case, Workshop
from endurance.scenario import CONFIG, newest, overrides

pytestmark = pytest.mark.slow

LOADED = 60
"""Seconds that a machine busy with other tests may add."""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    folder = tmp_path_factory.mktemp("endurance")
    try:
        forge = Forge(folder / "forge")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    with forge:
        yield Workshop(folder, forge)


def failures(cases: Iterator[Case]) -> dict[str, list[str]]:
    return {name: faults for name, case in cases if (faults := case())}


def test_killed_at_any_call_it_continues_to_the_same_bytes(workshop: Workshop) -> None:
    assert failures(parts.kill_points(workshop, every=16)) == {}


def test_killed_inside_a_write_it_continues_to_the_same_bytes(workshop: Workshop) -> None:
    assert failures(parts.torn_writes(workshop, every=12)) == {}


def test_a_full_or_failing_disk_loses_nothing(workshop: Workshop) -> None:
    assert failures(parts.disk_faults(workshop, every=40)) == {}


def test_after_a_power_loss_there_is_a_checkpoint_to_continue_from(workshop: Workshop) -> None:
    assert failures(parts.power_losses(workshop)) == {}


def test_killed_at_random_moments_it_leaves_no_process_and_loses_nothing(workshop: Workshop) -> None:
    assert failures(islice(signals.random_kills(workshop), 1, 2)) == {}


def test_stopped_at_random_moments_it_loses_no_step(workshop: Workshop) -> None:
    assert failures(islice(signals.random_stops(workshop), 1, 2)) == {}


@pytest.mark.parametrize("workers", [0, 1])
def test_stopped_after_any_step_it_continues_to_the_same_bytes(workshop: Workshop, workers: int) -> None:
    assert failures(grid.stops(workshop, steps=range(4, 9, 4), workers=(workers,))) == {}


def test_stopped_under_torchrun_it_continues_to_the_same_bytes(workshop: Workshop) -> None:
    assert failures(islice(grid.processes(workshop), 5, 6)) == {}


def test_elastic_exact_continues_on_other_numbers_of_processes(workshop: Workshop) -> None:
    assert failures(grid.elastic_chain(workshop, (2, 1))) == {}


def test_every_saved_item_matters(workshop: Workshop) -> None:
    assert failures(grid.corrupted_items(workshop)) == {}


# ------------------------------------------------------------------------------------------------------------ processes


class Job:
    """A long run under torchrun, or alone with loading processes, in a session of its own."""

    def __init__(self, folder: Path, *launcher: str, timeout: float = 4, **values: object) -> None:
        (folder / "config.yaml").write_text(CONFIG)
        words = overrides(folder / "run", max_steps=100_000, save_steps=100_000, logging_steps=5, **values)
        self.said = folder / "said.txt"
        with self.said.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *launcher, "dit_run", str(folder / "config.yaml"), *words,
                 "sampling.every_n_steps=null", "validation.every_n_steps=null"],
                stdout=output, stderr=output, start_new_session=True,
                env={**os.environ, **ONE_THREAD, "DIT_RUN_TIMEOUT": str(timeout), "JOB": str(folder)},
            )  # fmt: skip
        self._mark = f"JOB={folder}".encode()

    def after_step(self, step: int) -> Job:
        while f"step {step}/" not in self.said.read_text():
            assert self.process.poll() is None, self.said.read_text()
            time.sleep(0.05)
        return self

    def members(self, pattern: str = "") -> list[int]:
        """Its processes whose command line fits, oldest first."""
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                marked = folder.name.isdigit() and self._mark in (folder / "environ").read_bytes().split(b"\0")
                if marked and re.search(pattern, (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()):
                    found.append(int(folder.name))
        return sorted(found)

    def end(self, seconds: float) -> float:
        """Waits for the end and that nothing is left; seconds it took."""
        began = time.monotonic()
        self.process.wait(seconds)
        took = time.monotonic() - began
        until = time.monotonic() + 5 + LOADED
        while self.members() and time.monotonic() < until:
            time.sleep(0.05)
        assert self.members() == []
        return took


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    jobs: list[Job] = []

    def start(*launcher: str, **values: object) -> Job:
        jobs.append(Job(tmp_path, *launcher, **values))  # type: ignore[arg-type]
        return jobs[-1]

    yield start
    for each in jobs:
        for pid in each.members():
            os.kill(pid, signal.SIGKILL)
        each.process.wait()


TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m")


def ranks(running: Job) -> list[int]:
    return running.members(r"^\S+ -u -m dit_run ")


def test_a_killed_rank_ends_the_job_within_five_seconds(job: Callable[..., Job]) -> None:
    running = job(*TORCHRUN, timeout=60).after_step(5)
    os.kill(ranks(running)[1], signal.SIGKILL)
    assert running.end(120) < 5 + LOADED
    assert running.process.returncode != 0
    assert "process 0 cannot reach another process of this run" in running.said.read_text()


def test_a_frozen_rank_ends_the_job(job: Callable[..., Job]) -> None:
    running = job(*TORCHRUN, timeout=4).after_step(5)
    os.kill(ranks(running)[1], signal.SIGSTOP)
    assert running.end(120) < 4 + 35 + LOADED


def test_a_killed_launcher_takes_its_ranks_with_it(job: Callable[..., Job]) -> None:
    running = job(*TORCHRUN).after_step(5)
    os.kill(running.process.pid, signal.SIGTERM)
    running.end(120)
    assert newest(running.said.parent / "run").exists()


@pytest.mark.parametrize(
    ("how", "told"),
    [(signal.SIGKILL, "a loading process was killed"), (signal.SIGSTOP, "no loading process answered for 3 seconds")],
)
def test_a_lost_loading_process_is_told_of(job: Callable[..., Job], how: signal.Signals, told: str) -> None:
    running = job(timeout=3, num_workers=2).after_step(5)
    os.kill(running.members("forkserver")[-1], how)
    running.end(120)
    assert running.process.returncode == 1
    assert told in running.said.read_text()
    assert "Traceback" not in running.said.read_text()


def test_a_killed_run_leaves_no_loading_process(job: Callable[..., Job]) -> None:
    running = job(num_workers=2).after_step(5)
    running.process.kill()
    running.end(5 + LOADED)
