"""Runs that are killed or asked to stop at random moments, with loading processes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from .forge import Ended, Running
from .parts import Case, Workshop
from .scenario import WORKERS, differences, metrics, newest, overrides

__all__ = ["random_kills", "random_stops", "wrong_stop"]

STEPS = {"max_steps": 60, "save_steps": 7}
RARELY = ("validation.every_n_steps=14", "sampling.every_n_steps=20")
LEAVING = 30
"""Seconds that a process which is just starting may take to learn that it is not wanted."""
PER_CHAIN = 5
"""Signals of one case that arrive before its run has ended."""


@dataclass
class _Long:
    """The scenario with more steps."""

    workshop: Workshop

    @cached_property
    def reference(self) -> Path:
        """Uninterrupted, without loading processes."""
        path = self.workshop.fresh("long-reference")
        ended = self.start(path, 0).wait()
        if ended.status != 0:
            raise RuntimeError(ended.output)
        return path

    def start(self, path: Path, workers: int) -> Running:
        words = [str(self.workshop.config_file), *overrides(path, **STEPS, num_workers=workers)]
        return self.workshop.forge.start([*words, *RARELY], path)

    def finish(self, path: Path, workers: int) -> list[str]:
        ended = self.start(path, workers).wait()
        return differences(self.reference, path) if ended.status == 0 else [f"{ended.status}: {ended.output[-2000:]}"]

    def seconds(self, workers: int) -> float:
        """About how long a run takes."""
        began = time.monotonic()
        self.start(self.workshop.fresh("timed"), workers).wait()
        return time.monotonic() - began


def random_kills(workshop: Workshop, count: int = 200, each: int = PER_CHAIN) -> Iterator[Case]:
    """SIGKILL at random moments, the same command again, and so on; 0, 1 and 4 loading processes in turn."""
    yield from _chains(workshop, count, each, signal.SIGKILL)


def random_stops(workshop: Workshop, count: int = 100, each: int = PER_CHAIN) -> Iterator[Case]:
    """SIGTERM at random moments: every step that was done is in the checkpoint."""
    yield from _chains(workshop, count, each, signal.SIGTERM)


def _chains(workshop: Workshop, count: int, each: int, number: signal.Signals) -> Iterator[Case]:
    long, spans = _Long(workshop), dict[int, float]()
    for index in range(-(-count // each)):
        workers = WORKERS[index % len(WORKERS)]
        yield f"chain {index}, {workers} workers", partial(_chain, long, spans, index, each, workers, number)


def _chain(
    long: _Long, spans: dict[int, float], index: int, each: int, workers: int, number: signal.Signals
) -> list[str]:
    if workers not in spans:
        spans[workers] = long.seconds(workers)
    moments = random.Random(f"{number.name} {index}")
    path = long.workshop.fresh("signalled")
    faults: list[str] = []
    arrived = 0
    while arrived < each:
        running = long.start(path, workers)
        time.sleep(moments.uniform(0, 0.8 * spans[workers]))
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, number)
        ended = running.wait()
        arrived += ended.status != 0
        faults += [f"process {pid} is left" for pid in running.left(LEAVING + long.workshop.busy)]
        faults += wrong_stop(path, ended) if number == signal.SIGTERM else []
        if ended.status == 0:
            faults += differences(long.reference, path)
            path = long.workshop.fresh("signalled")
        if faults:
            return faults
    return long.finish(path, workers)


def wrong_stop(path: Path, ended: Ended) -> list[str]:
    """What is wrong with how a run that got SIGTERM ended; before training began it may just go."""
    if ended.status not in (143, 0, -signal.SIGTERM):
        return [f"status {ended.status}: {ended.output[-2000:]}"]
    if ended.status != 143:
        return []
    if not (path / "status.json").exists():
        return []
    status = json.loads((path / "status.json").read_bytes())
    if status["state"] != "interrupted":
        return [f"status {status['state']}"]
    if status["step"] == 0:
        return []
    saved, logged = int(newest(path).name.removeprefix("step-")), [int(line["step"]) for line in metrics(path)]
    found = [] if saved == status["step"] else [f"step {status['step']}, and the checkpoint of {saved}"]
    return found + ([] if logged == list(range(1, status["watched"] + 1)) else [f"{status} and {logged}"])
