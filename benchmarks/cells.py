"""Cells: trainings that are run, scored and stored one by one, for comparisons of recipes.

Training is `dit-run train` on one thread; scoring is that of `dit-run eval`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from fnmatch import fnmatch
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from measuring import surroundings
from run_scores import SAMPLING_STEPS, score_run

__all__ = [
    "Cell",
    "Recipe",
    "Results",
    "Score",
    "arguments",
    "document",
    "expected_seconds",
    "perform",
    "perform_all",
    "train_alone",
]

HERE = Path(__file__).resolve().parent
QUICKSTART = HERE.parent / "configs" / "quickstart.yaml"
PROMPTS = 500
ALONE = (
    "training.num_threads=1", "validation.every_n_steps=null", "sampling.every_n_steps=null", "metrics=[]",
)  # fmt: skip
"""Overrides of a run that only trains and saves."""
MARKS = 10
"""Checkpoints per cell; some of them are scored."""
START_UP = 8.0
"""CPU time to start a training process (seconds)."""


@dataclass(frozen=True)
class Recipe:
    """A config and its changes."""

    config: Path
    changes: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[str]:
        return [str(self.config), *self.changes]


@dataclass(frozen=True)
class Cell:
    """A training, and the steps at which it is scored."""

    name: str
    recipe: Recipe
    steps: int
    """Optimizer steps, a multiple of MARKS."""
    seed: int
    marks: tuple[int, ...] = (MARKS,)
    """Tenths of the training that are scored, in order; the last is the end."""
    guidances: tuple[float, ...] = ()
    """Guidance scales to try at the end; empty uses that of the config."""
    live: bool = False
    """True also tries the weights without averaging at the end. The best choice there is used for all marks."""

    def identity(self) -> dict[str, Any]:
        """Return everything that decides the scores: the config without paths, and the way of scoring."""
        from dit_run.config.resolve import resolve

        config = resolve(self.recipe.config, [*self.recipe.changes, *_training_changes(self, Path("run"))]).config
        resolved = {key: value for key, value in config.to_dict().items() if key not in ("plugins", "cache")}
        scored = {"marks": self.marks, "guidances": self.guidances, "live": self.live}
        return scored | {"prompts": PROMPTS, "sampling_steps": SAMPLING_STEPS, "config": resolved}


@dataclass(frozen=True)
class Score:
    """Means over the prompts at one step."""

    step: int
    guidance: float
    averaged: bool
    """True if averaged weights made the samples."""
    above_chance: float
    """Mean share of correct attributes, scaled so that true images of other prompts get 0 and 1 is all."""
    attributes_right: float
    wholly_right: float


class Results:
    """A folder with a JSON file for each finished cell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        return self.folder / f"{name.replace('/', '-')}.json"

    def read(self, name: str, identity: Any) -> Any:
        """Return the value stored under a name; None if it is missing or has another identity."""
        path = self.path(name)
        if not path.is_file():
            return None
        kept = json.loads(path.read_text())
        return kept["value"] if kept["identity"] == json.loads(json.dumps(identity)) else None

    def write(self, name: str, identity: Any, value: Any) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.path(name).with_suffix(".draft")
        draft.write_text(json.dumps({"identity": identity, "value": value}, indent=1))
        draft.replace(self.path(name))

    def scores(self, cell: Cell, what: str = "scores") -> list[Score] | None:
        """Return the scores of a finished cell, one per mark, or with ``tried`` all that were tried at the end."""
        kept = self.read(cell.name, cell.identity())
        return None if kept is None else [Score(**score) for score in kept[what]]


def expected_seconds(cell: Cell, cost: float) -> float:
    """Return the CPU seconds of a cell. A sampling step costs a third of a training step per image."""
    scores = len(cell.marks) - 1 + max(1, len(cell.guidances)) * (1 + cell.live)
    return START_UP + cell.steps * cost + scores * 2 * PROMPTS / 64 * SAMPLING_STEPS * cost / 3


# --------------------------------------------------------------------------------------------------------------- cells


def perform_all(cells: Sequence[Cell], results: Results, *, jobs: int, only: str) -> None:
    """Train and score the unfinished cells whose names match, ``jobs`` at a time."""
    due = [cell for cell in cells if fnmatch(cell.name, only) and results.scores(cell) is None]
    with ThreadPoolExecutor(jobs) as pool:
        for _ in pool.map(partial(perform, results=results), due):
            pass


def perform(cell: Cell, results: Results) -> None:
    """Train a cell or continue it, score it, and store only the scores."""
    run = results.folder / "runs" / cell.name.replace("/", "-")
    began = time.time()
    train_alone([*cell.recipe.arguments, *_training_changes(cell, run)])
    ways = product(_scales(cell), (True, False) if cell.live else (True,))
    tried = [_score(run, cell.steps, guidance, averaged=averaged) for guidance, averaged in ways]
    last = max(tried, key=lambda score: score.above_chance)
    earlier = [cell.steps * mark // MARKS for mark in cell.marks[:-1]]
    scores = [_score(run, step, last.guidance, averaged=last.averaged) for step in earlier] + [last]
    value = {"scores": list(map(asdict, scores)), "tried": list(map(asdict, tried))}
    results.write(cell.name, cell.identity(), value)
    shutil.rmtree(run)
    _tell(
        f"{cell.name}: {cell.steps} steps, {last.above_chance:.1%} above chance, {last.wholly_right:.1%} wholly right "
        f"({(time.time() - began) / 60:.1f} minutes)"
    )


def _tell(line: str) -> None:
    print(line, flush=True)


def _scales(cell: Cell) -> tuple[float, ...]:
    from dit_run.config.resolve import resolve

    return cell.guidances or (resolve(cell.recipe.config, cell.recipe.changes).config.sampling.guidance_scale,)


def _training_changes(cell: Cell, run: Path) -> list[str]:
    """Return overrides for a run that only trains and saves, on all pairs of colour and shape."""
    return [
        "data.held_out_pairs=0",
        f"training.output_dir={run}",
        f"training.seed={cell.seed}",
        f"training.max_steps={cell.steps}",
        f"training.save_steps={cell.steps // MARKS}",
        "training.save_total_limit=null",
        *ALONE,
    ]


def _score(run: Path, step: int, guidance: float, *, averaged: bool) -> Score:
    """Score a checkpoint on held-out prompts."""
    found, of_averages = score_run(
        run, PROMPTS, f"sampling.guidance_scale={guidance:g}", checkpoint=f"step-{step:08d}", averaged=averaged
    )
    names = ("above_chance", "attributes_right", "wholly_right")
    return Score(step, guidance, of_averages, *(found[f"shapes/{name}"] for name in names))


def train_alone(words: Sequence[str]) -> float:
    """Run `dit-run train` with these words on one thread, without anything else; return its CPU seconds.

    Raises CalledProcessError if it fails.
    """
    command = [sys.executable, "-m", "dit_run", "train", *words, *ALONE]
    with subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return used.ru_utime + used.ru_stime


# -------------------------------------------------------------------------------------------------------------- report


def document(about: str, script: str, parts: Sequence[str]) -> str:
    """Return a Markdown page with method, machine and results.

    ``about`` is the docstring of a script; its last paragraph, about running the script, is left out.
    """
    place = surroundings()
    versions = ", ".join(f"{name} {version}" for name, version in place["versions"].items())
    measured = f"By `python benchmarks/{script}`, {date.today().isoformat()}. Machine: {place['machine']}. {versions}."
    paragraphs = about.strip().split("\n\n")[:-1]
    return "\n\n".join([f"# {paragraphs[0]}", *paragraphs[1:], measured, *parts]) + "\n"


def arguments(description: str | None) -> argparse.Namespace:
    """Parse the arguments of scripts that train cells."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", metavar="PATTERN", help="cells whose names match, such as '*ours/1'")
    parser.add_argument("--jobs", type=int, default=2, help="cells at a time")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of finished cells")
    parser.add_argument("--report", action="store_true", help="write the page from finished cells, without training")
    return parser.parse_args()
