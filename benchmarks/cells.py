"""Cells: trainings that are run, scored and stored one by one, for comparisons of recipes.

A budget is the CPU time of a process with one thread. It includes making the images and excludes start-up and scoring.
Unlike wall time it does not depend on other work on the machine. The step of each recipe is timed first, all recipes in
turns, so that load affects all of them alike; a budget then becomes a number of steps, and a cell repeats bit for bit.
Training is `dit-run train`; scoring is `dit-run eval`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from fnmatch import fnmatch
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import in_turn, medians, surroundings

if TYPE_CHECKING:
    from PIL.Image import Image

    from dit_run.sampling.load_run import LoadedRun
    from dit_run.sampling.sampling_request import SamplingRequest

__all__ = [
    "Cell",
    "Recipe",
    "Results",
    "Score",
    "arguments",
    "costs",
    "document",
    "expected_seconds",
    "parameters",
    "perform",
    "perform_all",
    "scores_of",
    "steps_within",
]

HERE = Path(__file__).resolve().parent
QUICKSTART = HERE.parent / "configs" / "quickstart.yaml"
PROMPTS = 500
SAMPLING_STEPS = 12
"""Steps of dpm-solver++, for all cells."""
MARKS = 10
"""Checkpoints per cell; some of them are scored."""
ROUNDS, TURN, WARM_UP = 5, 2, 1
"""Timing of steps: rounds, steps per turn, and rounds before the measured ones."""
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


# ------------------------------------------------------------------------------------------------------------- budgets


def steps_within(seconds: float, cost: float) -> int:
    """Return the largest multiple of MARKS of steps that fits into ``seconds`` at ``cost`` seconds per step."""
    return max(1, int(seconds / cost / MARKS)) * MARKS


def expected_seconds(cell: Cell, cost: float) -> float:
    """Return the CPU seconds of a cell. A sampling step costs a third of a training step per image."""
    scores = len(cell.marks) - 1 + max(1, len(cell.guidances)) * (1 + cell.live)
    return START_UP + cell.steps * cost + scores * 2 * PROMPTS / 64 * SAMPLING_STEPS * cost / 3


def costs(recipes: Mapping[str, Recipe], results: Results) -> dict[str, float]:
    """Return the CPU seconds of a step of each recipe: medians over turns."""
    identity = {name: recipe.arguments[1:] for name, recipe in recipes.items()}
    kept: dict[str, float] | None = results.read("costs", identity)
    if kept is None:
        _tell("measuring a step of each recipe, in turns")
        kept = _measure(recipes)
        results.write("costs", identity, kept)
    return kept


def _measure(recipes: Mapping[str, Recipe]) -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    turns = {name: partial(_turn, _training(recipe)) for name, recipe in recipes.items()}
    taken = medians(in_turn(turns, ROUNDS, warm_up=WARM_UP, clock=time.process_time))
    return {name: seconds / TURN for name, seconds in taken.items()}


def _turn(training: Iterator[int]) -> None:
    for _ in range(TURN):
        next(training)


def _training(recipe: Recipe) -> Iterator[int]:
    """Train this recipe; each ``next`` runs one step as `dit-run train` does."""
    import torch

    from dit_run.assembly.averages import build_average_shares
    from dit_run.assembly.layout import Layout
    from dit_run.assembly.objectives import build_objectives
    from dit_run.assembly.optimization import build_optimizer
    from dit_run.assembly.parts import build_denoiser, build_schedulers
    from dit_run.assembly.prepare import prepare
    from dit_run.compute.precision import Precision
    from dit_run.config.resolve import resolve
    from dit_run.training.average import Average
    from dit_run.training.batches import Loading, Visits, batches
    from dit_run.training.encoding import BatchEncoder
    from dit_run.training.step import Gradients, TrainingStep
    from dit_run.training.step_loss import StepLoss

    resolution = resolve(recipe.config, [*recipe.changes, "data.num_samples=2000", "data.held_out_pairs=0"])
    device, training = torch.device("cpu"), resolution.config.training
    config, data, encoders = prepare(resolution.config, device=device)
    visits = Visits.of(config, data.train, encoders)
    layout, files = Layout(training.batch_size, 1), resolution.registry.files
    loaded = batches(visits, layout.micro_batches(0, 10**9), Loading(plugins=files))
    denoiser = build_denoiser(config, encoders, device).train()
    averages = [Average(denoiser, share) for share in build_average_shares(config).values()]
    precision = Precision.of(training.mixed_precision, device)
    step = TrainingStep(
        forward=StepLoss(denoiser, build_objectives(config, denoiser, device, total_steps=1), precision),
        scheduler_of=build_schedulers(config, encoders),
        optimizer=build_optimizer(config, denoiser, device),
        learning_rate_factor=lambda number: 1.0,
        precision=precision,
        max_grad_norm=training.max_grad_norm,
        seed=training.seed,
        gradients=Gradients(1),
    )
    for number, examples in enumerate(map(BatchEncoder(encoders, device), loaded)):
        step.run(number, [examples], count=1)
        for average in averages:
            average.update(number)
        yield number


def parameters(recipe: Recipe) -> int:
    """Return the number of parameters of the model, without the text encoder."""
    import torch

    from dit_run.assembly.parts import build_denoiser, build_encoders
    from dit_run.config.resolve import resolve

    config = resolve(recipe.config, recipe.changes).config
    model = build_denoiser(config, build_encoders(config, torch.device("cpu")), torch.device("cpu")).model
    return sum(parameter.numel() for parameter in model.parameters())


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
    _train(cell, run)
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
        "training.num_threads=1",
        "validation.every_n_steps=null",
        "sampling.every_n_steps=null",
        "metrics=[]",
    ]


def _score(run: Path, step: int, guidance: float, *, averaged: bool) -> Score:
    """Score a checkpoint on held-out prompts."""
    import torch

    from dit_run.sampling.load_run import load_run

    torch.set_num_threads(1)
    changes = [
        f"metrics=[{{type: shapes, count: {PROMPTS}}}]",
        "data.num_samples=100",  # none of them is used
        "sampling.sampler=dpm-solver++",
        f"sampling.steps={SAMPLING_STEPS}",
        f"sampling.guidance_scale={guidance:g}",
    ]
    trained = load_run(run, *changes, checkpoint=f"step-{step:08d}", ema=averaged, allow_plugins=True)
    found = scores_of(trained)
    names = ("above_chance", "attributes_right", "wholly_right")
    return Score(
        step, guidance, averaged and trained.config.training.use_ema, *(found[f"shapes/{name}"] for name in names)
    )


def scores_of(trained: LoadedRun) -> dict[str, float]:
    """Return the scores of the metrics of a loaded run, as `dit-run eval` does."""
    from dit_run.assembly.prepare import build_data
    from dit_run.reporting import Silent
    from dit_run.training.scoring import build_metrics, score

    data = build_data(trained.config)

    def sample(request: SamplingRequest, name: str) -> list[Image]:
        return trained.pipeline.generate(request, Silent())

    return score(build_metrics(trained.config, data), trained.config, data, sample)


def _train(cell: Cell, run: Path) -> None:
    """Run `dit-run train` with one thread. Raise CalledProcessError if it fails."""
    command = [sys.executable, "-m", "dit_run", "train", *cell.recipe.arguments, *_training_changes(cell, run)]
    subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, check=True)


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
