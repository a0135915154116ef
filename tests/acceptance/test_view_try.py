"""Images that are made on the page: the queue, its process, and what becomes of jobs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from runs import Command, Train

for name in ("jinja2", "orjson", "starlette", "uvicorn"):
    pytest.importorskip(name, reason="the extra dit-run[view] is not installed")

from dit_run.runs.reading.run_files import RunFiles  # noqa: E402
from dit_run.view.try_queue import TryJob, TryQueue  # noqa: E402
from dit_run.view.try_settings import read_settings  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")]


@pytest.fixture
def queue() -> Iterator[TryQueue]:
    queue = TryQueue(idle_seconds=0.5)
    yield queue
    queue.close()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def worker() -> int:
    """The id of the only child process that makes images."""
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"try_worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    raise AssertionError("no process makes images")


def test_jobs_are_made_cancelled_and_lost_and_memory_is_released(
    train: Train, command: Command, queue: TryQueue
) -> None:
    run = train("training.max_steps=2")
    before = run.everything()
    files = RunFiles(run.path.resolve(), run.path.resolve())

    def add(**settings: object) -> TryJob:
        return queue.add(files, read_settings(files, {"prompts": ["a red circle"], **settings}))

    endless, waiting, short = add(steps=10_000), add(steps=2), add(steps=2, seed=3, averaged=False)
    until(lambda: endless.progress > 0)
    queue.cancel(waiting)
    queue.cancel(endless)
    until(lambda: short.state == "done")
    assert (endless.state, waiting.state, waiting.images) == ("cancelled", "cancelled", [])
    words = ("--steps", 2, "--seed", 3, "--no-ema", "--output", "one.png")
    assert command("sample", run.path, "a red circle", *words).status == 0
    assert short.images == [Path("one.png").read_bytes()]
    wrong = add(sampler="nothing")
    until(lambda: wrong.state == "failed")
    assert "nothing" in wrong.error

    lost = add(steps=10_000)
    until(lambda: lost.progress > 0)
    os.kill(worker(), signal.SIGKILL)
    until(lambda: lost.state == "failed")
    assert lost.error == "the process that makes images ended with status -9; memory may have run out"
    after = add(steps=1)
    until(lambda: after.state == "done")
    until(lambda: not queue.loaded)
    assert run.everything() == before
