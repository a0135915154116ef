"""A race against the clock: ``python benchmarks/race CONFIG [key=value ...]``. README.md has the rules.

Trains a config on the race's data until its time is over, or until it reaches a score, and prints a row for the table:

    python benchmarks/race benchmarks/race/configs/ours.yaml --minutes 60
    python benchmarks/race benchmarks/race/configs/pixart_ddpm.yaml --minutes 60 --until 0.87
    python benchmarks/race my.yaml training.learning_rate=3e-3 --data emoji --emoji ./data/emoji --seed 2
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import surroundings
from race_clock import Clock
from race_tasks import TASKS, Task

import dit_run

MARKS = (1 / 60, 1 / 30, 1 / 12, 1 / 6, 1 / 4, 1 / 2, 3 / 4, 1)
"""Shares of the steps after which a config is scored."""
TIMED = 12
"""Steps that are timed to fit the run to the clock (number)."""
SAMPLING_STEPS = 12
"""Model calls for an image, apart from guidance (number)."""
RESULTS = Path(__file__).resolve().parents[1] / "results" / "race.jsonl"


@dataclass(frozen=True)
class Mark:
    """The score at a time of a race."""

    seconds: float
    step: int
    score: float
    standard_error: float
    averaged: bool
    """True if the averaged weights made the images."""


def main() -> int:
    """Run a race, print its row, and append all of it to the results."""
    options = arguments()
    task: Task = TASKS[options.data](options.emoji)
    changes = [*options.changes, *fixed(task, options.device, options.seed)]
    steps = fitted(options, changes)
    print(f"{steps} steps fit into {60 * options.minutes:g} s of the clock", flush=True)
    with tempfile.TemporaryDirectory(prefix="dit-run-race-") as folder:
        marks = race(options, task, [*changes, f"training.max_steps={steps}"], Path(folder) / "run", steps)
    entry = {
        "config": options.config.stem, "changes": options.changes, "data": options.data, "seed": options.seed,
        "device": options.device, "minutes": options.minutes, "until": options.until, "prompts": options.prompts,
        "marks": [asdict(mark) for mark in marks], "date": date.today().isoformat(), **surroundings(),
    }  # fmt: skip
    options.results.parent.mkdir(parents=True, exist_ok=True)
    with options.results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    print(row(entry, marks))
    return 0


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/race", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="any config; the race fixes its data, and its steps by the clock")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="changes of the config")
    parser.add_argument("--data", choices=list(TASKS), default="shapes")
    parser.add_argument("--emoji", metavar="FOLDER", help="folder of the emoji, for --data emoji")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60.0, help="the clock (default: 60)")
    parser.add_argument("--until", type=float, metavar="SCORE", help="end at this score")
    parser.add_argument("--device", default="cpu", help="cpu, one thread (the default), or cuda: another table")
    parser.add_argument("--prompts", type=int, default=500, help="other numbers than 500 are for trials")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE", help="file that gets all numbers")
    return parser.parse_intermixed_args(words)


def fixed(task: Task, device: str, seed: int) -> list[str]:
    """Return the changes of a config that are the same for all."""
    return [
        *task.changes(),
        f"training.device={device}",
        f"training.seed={seed}",
        "training.num_threads=1",
        "training.num_workers=0",
        "training.save_steps=1000000000",
        "training.save_every_n_epochs=null",
        "training.num_epochs=1000000",
        "training.max_hours=null",
        "training.init_from=null",
        "validation.every_n_steps=null",
        "sampling.every_n_steps=null",
        "metrics=[]",
        "trackers=[]",
    ]


def fitted(options: argparse.Namespace, changes: list[str]) -> int:
    """Return the steps that fit into the time, by the steps of a run that is thrown away."""
    clock = Clock(options.device)
    clock.target = TIMED
    with tempfile.TemporaryDirectory(prefix="dit-run-race-") as folder:
        timed = [*changes, "training.max_steps=1000000", f"training.output_dir={folder}/run"]
        dit_run.train(dit_run.load_config(options.config, *timed), stop=clock.due, reporter=clock)
    return max(len(MARKS), int(60 * options.minutes / clock.typical))


def race(options: argparse.Namespace, task: Task, changes: list[str], run: Path, steps: int) -> list[Mark]:
    """Train from mark to mark and score at each, until the time is over or the score is reached."""
    config = dit_run.load_config(options.config, *changes, f"training.output_dir={run}")
    clock, marks = Clock(options.device, limit=60 * options.minutes), list[Mark]()
    prompts = task.prompts(config, options.prompts)
    for share in MARKS:
        clock.target = max(clock.steps + 1, round(share * steps))
        dit_run.train(config, stop=clock.due, reporter=clock)
        marks.append(scored(task, prompts, run, clock, averages=config.training.use_ema))
        print(
            f"{marks[-1].seconds:8.1f} s  step {marks[-1].step:6d}  {marks[-1].score:.1%} ± "
            f"{marks[-1].standard_error:.1%}",
            flush=True,
        )
        if clock.over or (options.until is not None and marks[-1].score >= options.until):
            break
    return marks


def scored(task: Task, prompts: list[str], run: Path, clock: Clock, *, averages: bool) -> Mark:
    """Return the better score of the weights that train and, where there are any, of their averages."""

    def mark(averaged: bool) -> Mark:
        trained = dit_run.load_run(run, ema=averaged, allow_plugins=True)
        images = trained.sample(prompts, steps=SAMPLING_STEPS, seed=0, batch_size=50)
        return Mark(clock.seconds, clock.steps, *task.score(images, prompts), averaged)

    return max(map(mark, (True, False) if averages else (False,)), key=lambda found: found.score)


def row(entry: Mapping[str, Any], marks: Sequence[Mark]) -> str:
    """Return a row of the table in README.md: the best score, and the seconds to it or to the goal."""
    best, goal = max(marks, key=lambda mark: mark.score), entry["until"]
    at = f"{best.seconds:.0f} s"
    if goal is not None:
        at = f"{at if best.score >= goal else 'not reached'} (goal {goal:.1%})"
    name = " ".join([entry["config"], *entry["changes"]])
    return (
        f"| {name} | {entry['data']} | {entry['device']} | {entry['seed']} | {marks[-1].step} | "
        f"{marks[-1].seconds:.0f} s | {best.score:.1%} ± {best.standard_error:.1%} | {at} |"
    )


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except dit_run.InputError as error:
        raise SystemExit(f"race: {error}") from error
