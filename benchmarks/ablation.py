"""Ablation of the quickstart's recipe: each choice removed in turn, and some choices added.

A score is the mean share of correct attributes on 500 new prompts, above chance. AdamW has its own learning rate, 3e-3,
which was not tuned. The row with averaged weights is the training of the whole recipe, sampled with averaged weights.

First table: every recipe trains for the same CPU time of 2 minutes, with a complete learning-rate schedule; budgets.py
explains the budget. The noise of a difference is the standard deviation of a score over seeds, pooled over all recipes
with several seeds; the whole recipe has three. A recipe whose difference is below twice its standard error is trained
with more seeds, up to three.

Second table: two minutes are a small part of the quickstart's training, so choices that look useless there are compared
at the full length, all with the same number of steps.

Run it alone: ``python benchmarks/ablation.py [--only 'PATTERN'] [--jobs 2] [--report]``. It prints a time
estimate, resumes after an interrupt, and writes ABLATION.md next to it.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from math import isnan, sqrt
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from budgets import costs, steps_within
from cells import (
    HERE,
    QUICKSTART,
    Cell,
    Recipe,
    Results,
    Score,
    arguments,
    document,
    expected_seconds,
    perform_all,
)
from measuring import Report, Table, markdown

BUDGET = 120.0
SEEDS = (1, 2, 3)
WHOLE, AVERAGED = "the whole recipe", "averaged weights"
NO_ROTARY, WITH_QK_NORM = "no rotary positions", "normalised queries and keys"
DDPM = "scheduler={type: ddpm}"
FLOW = "scheduler={{type: flow_matching, prediction_type: velocity, {}}}"
CHANGED: Mapping[str, tuple[str, ...]] = {
    "adamw instead of muon": ("optimizer={type: adamw}", "training.learning_rate=3e-3"),
    "ddpm epsilon instead of flow matching": (DDPM, "sampling.sampler=null"),
    "shift 1 instead of 2": (FLOW.format("shift: 1.0"),),
    "no caption dropout and guidance": ("training.caption_dropout=0", "sampling.guidance_scale=1"),
    "cosine instead of linear": ("lr_scheduler={type: cosine, warmup_steps: 60}",),
    NO_ROTARY: ("model.positions=sincos",),
    "no warm-up": ("lr_scheduler={type: linear, warmup_steps: 0}",),
    "rmsnorm and swiglu, as large models have": ("model.norm=rmsnorm", "model.mlp=swiglu"),
    WITH_QK_NORM: ("model.qk_norm=true",),
    "blocks that start at random": ("model.zero_outputs=false",),
    "one modulation for all blocks": ("model.modulation=adaln_single",),
    "no convolution next to attention": ("model.attention_convolution=false",),
    "full precision": ("training.mixed_precision=no",),
    "one learning rate": ("optimizer.adamw_rate=1",),
    "batches of 64": ("training.batch_size=64",),
    "guidance 3": ("sampling.guidance_scale=3",),
}
"""Changes to the quickstart, by name."""
LENGTH = 3000
"""Steps of the quickstart."""
JUDGED = (WHOLE, NO_ROTARY, WITH_QK_NORM)
"""Recipes that are trained at full length with every seed."""
BOTH = ("training.use_ema=true", "training.ema_decay=0.999")
"""Settings to try averaged and live weights. An average does not change the training."""


def recipes() -> dict[str, Recipe]:
    return {WHOLE: Recipe(QUICKSTART, BOTH)} | {name: Recipe(QUICKSTART, way) for name, way in CHANGED.items()}


def measured() -> dict[str, Recipe]:
    """Return the recipes whose step times are measured: the whole one, and those with other work in a step."""
    others = {
        name: recipe
        for name, recipe in recipes().items()
        if any(change.startswith(("model", "optimizer", "training.batch_size")) for change in recipe.changes)
    }
    return {WHOLE: recipes()[WHOLE]} | others


def cell(name: str, seed: int, cost: Mapping[str, float]) -> Cell:
    """Return the training of a recipe with a seed."""
    slug = name.replace(",", "").replace(" ", "_")
    return Cell(
        f"{slug}/{seed}", recipes()[name], steps_within(BUDGET, cost.get(name, cost[WHOLE])), seed, live=name == WHOLE
    )


def first_cells(cost: Mapping[str, float]) -> list[Cell]:
    """Return every recipe with the first seed, and the whole one with all seeds."""
    return [cell(name, SEEDS[0], cost) for name in recipes()] + [cell(WHOLE, seed, cost) for seed in SEEDS[1:]]


def short_cells(cost: Mapping[str, float]) -> dict[str, list[Cell]]:
    """Return all trainings of the first table, by recipe."""
    return {name: [cell(name, seed, cost) for seed in SEEDS] for name in recipes()}


def long_cells() -> dict[str, list[Cell]]:
    """Return all trainings of the second table, by recipe."""
    return {name: [_long_cell(name, seed) for seed in SEEDS] for name in JUDGED}


def _long_cell(name: str, seed: int) -> Cell:
    way = Recipe(QUICKSTART, (*CHANGED.get(name, ()), *BOTH))
    return Cell(f"long/{name.replace(' ', '_')}/{seed}", way, LENGTH, seed, live=True)


def scored(results: Results, cells: Mapping[str, Sequence[Cell]]) -> dict[str, list[Score]]:
    """Return the final scores of finished cells, by recipe. Averaged weights count only for the whole recipe."""
    found: dict[str, list[Score]] = {}
    for name, own in cells.items():
        for score in (score for one in own for score in results.scores(one, "tried") or ()):
            if name == WHOLE or not score.averaged:
                found.setdefault(AVERAGED if score.averaged else name, []).append(score)
    return found


def spread(groups: Sequence[Sequence[float]]) -> float:
    """Return the pooled standard deviation within groups; nan if no group has two values."""
    several = [group for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in several)
    if not freedom:
        return float("nan")
    return sqrt(sum(statistics.variance(group) * (len(group) - 1) for group in several) / freedom)


def standard_error(deviation: float, one: int, other: int) -> float:
    """Return the standard error of a difference between two means, given the number of values of each."""
    return deviation * sqrt(1 / one + 1 / other)


def unclear(found: Mapping[str, Sequence[Score]]) -> list[str]:
    """Return the recipes whose difference from the whole one is below twice its standard error."""
    values = {name: [score.above_chance for score in scores] for name, scores in found.items()}
    deviation, whole = spread(list(values.values())), values.get(WHOLE, [])
    if len(whole) < len(SEEDS):
        return []
    return [
        name
        for name, own in values.items()
        if name != WHOLE
        and abs(statistics.mean(own) - statistics.mean(whole)) < 2 * standard_error(deviation, len(own), len(whole))
    ]


def table(found: Mapping[str, Sequence[Score]]) -> Table:
    """Return the table, largest loss first."""
    values = {name: [score.above_chance for score in scores] for name, scores in found.items()}
    deviation, whole = spread(list(values.values())), values[WHOLE]
    rows = []
    for name, own in sorted(values.items(), key=lambda item: (item[0] != WHOLE, statistics.mean(item[1]))):
        difference = statistics.mean(own) - statistics.mean(whole)
        error = standard_error(deviation, len(own), len(whole))
        steps = found[name][0].step
        rows.append(
            [
                name,
                str(steps),
                f"{statistics.mean(own):.1%}",
                f"{statistics.mean(score.wholly_right for score in found[name]):.1%}",
                ", ".join(f"{value:.1%}" for value in own),
                "" if name == WHOLE else f"{100 * difference:+.1f}" + ("" if isnan(error) else f" ± {100 * error:.1f}"),
            ]
        )
    header = ["recipe", "steps", "above chance", "wholly right", "by seed", "difference ± standard error, points"]
    return Table(header, rows)


def _announce(results: Results, cells: Sequence[Cell], cost: Mapping[str, float], jobs: int) -> None:
    left = [one for one in cells if results.scores(one) is None]
    minutes = sum(expected_seconds(one, cost[WHOLE]) for one in left) / 60 / jobs
    print(f"about {minutes:.0f} minutes for {len(left)} cells on {jobs} free cores, then repeats", flush=True)


def main() -> int:
    """Train the missing cells, then print and write the tables."""
    chosen = arguments(__doc__)
    results = Results(chosen.results / "ablation")
    cost = costs(measured(), results)
    long = long_cells()
    needed = [*first_cells(cost), *(one for own in long.values() for one in own)]
    if not chosen.report:
        _announce(results, needed, cost, chosen.jobs)
        do = partial(perform_all, results=results, jobs=chosen.jobs, only=chosen.only)
        do(needed)
        for seed in SEEDS[1:]:
            do([cell(name, seed, cost) for name in unclear(scored(results, short_cells(cost))) if name in recipes()])
    found = scored(results, short_cells(cost))
    if WHOLE not in found:
        raise SystemExit("the whole recipe has not been trained yet")
    missing = [one.name for one in needed if results.scores(one) is None]
    notes = [f"Not measured yet: {', '.join(missing)}."] if missing else []
    judged = scored(results, long)
    tables = [table(found)] + ([table(judged)] if WHOLE in judged else [])
    text = markdown(Report("", tables, notes=notes))
    print(text)
    if chosen.report or not missing:
        (HERE / "ABLATION.md").write_text(document(__doc__ or "", Path(__file__).name, [text]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
