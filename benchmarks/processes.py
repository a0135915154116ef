"""Time of a step of two processes, each with one thread and half the batch, compared with one process of two threads.

Both are whole runs of `dit-run train` on the same two cores, which take turns of a few steps: the model of
`configs/quickstart.yaml`, with its optimizer and with AdamW, and a model of twice the width. A step has the same
samples in both. Ratios are medians over neighbouring turns; the first step of a turn does not count. Bar: at most 1.1
times.

Run it alone: ``python benchmarks/processes.py [--only NAME] [--rounds 15]``; it takes about ten minutes.

This file is also a plugin file: runs wait for their turns in a callback.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from dit_run import Component, Kind, hookimpl

if TYPE_CHECKING:
    from dit_run.protocols import Progress

ROOT = Path(__file__).resolve().parent.parent
STEPS = 4
"""Steps of a turn that count."""
WARM_UP = 2
"""Turns before the measured ones."""
BATCH = 64
LIMIT = 1.1
ONE, TWO = "one process", "two processes"
SIZES: Mapping[str, Sequence[str]] = {
    "quickstart": (),
    "quickstart, AdamW": ("optimizer.type=adamw", "training.learning_rate=1e-3"),
    "wider": ("model.hidden_size=256", "model.num_heads=4"),
}
COMMON = (
    f"plugins=[{Path(__file__).resolve()}]", "training.device=cpu", "training.save_steps=100000", "metrics=[]",
    "trackers=[]", "validation.every_n_steps=null", "sampling.every_n_steps=null", "training.logging_steps=1000",
)  # fmt: skip
GO, DONE = "go", "done"
"""Named pipes: one asks for a turn, the other has its seconds."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Let a run wait for its turns."""

    pipes: str
    """Folder of the pipes."""


@dataclass
class Turns:
    """Time the steps of a run from one call to the next, and wait after each turn."""

    pipes: Path
    seconds: list[float] = field(default_factory=list)
    _since: float = 0.0

    def on_train_start(self, progress: Progress) -> None:
        self._wait()

    def on_step_end(self, progress: Progress) -> None:
        self.seconds.append(time.perf_counter() - self._since)
        if len(self.seconds) == STEPS + 1:
            with (self.pipes / DONE).open("w") as done:
                done.write(json.dumps(self.seconds[1:]))
            self.seconds.clear()
            self._wait()
        self._since = time.perf_counter()

    def _wait(self) -> None:
        with (self.pipes / GO).open() as go:
            go.read()
        self._since = time.perf_counter()


def build(options: Turn, *, run_dir: Path) -> Turns:
    return Turns(Path(options.pipes))


@hookimpl
def dit_run_components() -> Iterable[Component]:
    return [Component(Kind.CALLBACK, "turns", Turn, build)]


@contextmanager
def running(folder: Path, processes: int, words: Sequence[str]) -> Iterator[None]:
    """Run `dit-run train` on this many processes, two cores and two threads together; they end with the context."""
    for name in (GO, DONE):
        os.mkfifo(folder / name)
    command = [
        sys.executable, "-m", "dit_run", "-q", str(ROOT / "configs" / "quickstart.yaml"), *COMMON, *words,
        f"training.output_dir={folder / 'run'}", f"training.batch_size={BATCH // processes}",
        f"training.num_threads={2 // processes}", f"callbacks=[{{type: turns, pipes: '{folder}'}}]",
    ]  # fmt: skip
    port = _free_port()
    with (folder / "said").open("w") as said, ExitStack() as ends:
        for rank in range(processes):
            variables = os.environ | _launched(rank, processes, port) | {"OMP_NUM_THREADS": str(2 // processes)}
            process = subprocess.Popen(command, env=variables, stdout=said, stderr=said)
            ends.callback(process.wait)
            ends.callback(process.kill)
        yield


def _launched(rank: int, count: int, port: int) -> dict[str, str]:
    """Return the variables with which torchrun starts a process; those of one alone are none."""
    if count == 1:
        return {}
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return {name: str(value) for name, value in ranks.items()} | place


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def turn(folder: Path, seconds: list[float]) -> None:
    """Let the run of a folder do one turn, and add its median step."""
    with (folder / GO).open("w") as go:
        go.write("go")
    done: TextIO
    with (folder / DONE).open() as done:
        seconds.append(statistics.median(json.loads(done.read())))


def measure(words: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Return the median step of each turn (seconds), by contestant."""
    from measuring import in_turn

    taken: dict[str, list[float]] = {ONE: [], TWO: []}
    steps = f"training.max_steps={(WARM_UP + rounds + 1) * (STEPS + 1)}"
    with ExitStack() as runs:
        turns = {}
        for name, count in ((ONE, 1), (TWO, 2)):
            folder = Path(runs.enter_context(tempfile.TemporaryDirectory()))
            runs.enter_context(running(folder, count, [*words, steps]))
            turns[name] = partial(turn, folder, taken[name])
        in_turn(turns, rounds, warm_up=WARM_UP)
    return {name: seconds[WARM_UP:] for name, seconds in taken.items()}


def main() -> int:
    """Print the table; return 1 if a bar is missed."""
    from measuring import Bar, Report, Table, finish, medians, parser, ratio

    options = parser(__doc__)
    options.add_argument("--only", choices=SIZES, help="one of the models")
    options.add_argument("--rounds", type=int, default=15, help="measured turns of each contestant")
    arguments = options.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    rows, bars = [], []
    for name in SIZES if arguments.only is None else [arguments.only]:
        taken = measure(SIZES[name], arguments.rounds)
        rows.append([name, *(f"{1000 * seconds:.1f}" for seconds in medians(taken).values())])
        slower = ratio(taken[TWO], taken[ONE])
        bars.append(Bar(f"{name}: time of two processes ÷ time of one", slower, LIMIT, at_most=True))
    title = f"Steps of {BATCH} samples by one process with two threads, and by two processes with one thread each"
    return finish(Report(title, [Table(["model", f"{ONE} (ms)", f"{TWO} (ms)"], rows)], bars), arguments)


if __name__ == "__main__":
    raise SystemExit(main())
