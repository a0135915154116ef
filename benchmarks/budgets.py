"""Budgets of processor time: the cost of a training step of each recipe, and the steps that fit.

A budget is the CPU time of a process with one thread. It includes making the images and excludes start-up and scoring.
Unlike wall time it does not depend on other work on the machine. The step of each recipe is timed first, all recipes in
turns, so that load affects all of them alike; a budget then becomes a number of steps, and a cell repeats bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import partial

from cells import MARKS, Recipe, Results
from measuring import in_turn, medians

__all__ = ["costs", "parameters", "steps_within"]

ROUNDS, TURN, WARM_UP = 5, 2, 1
"""Timing of steps: rounds, steps per turn, and rounds before the measured ones."""


def steps_within(seconds: float, cost: float) -> int:
    """Return the largest multiple of MARKS of steps that fits into ``seconds`` at ``cost`` seconds per step."""
    return max(1, int(seconds / cost / MARKS)) * MARKS


def costs(recipes: Mapping[str, Recipe], results: Results) -> dict[str, float]:
    """Return the CPU seconds of a step of each recipe: medians over turns."""
    identity = {name: recipe.arguments[1:] for name, recipe in recipes.items()}
    kept: dict[str, float] | None = results.read("costs", identity)
    if kept is None:
        print("measuring a step of each recipe, in turns", flush=True)
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
