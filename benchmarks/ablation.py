"""The quickstart's recipe with each of its choices removed in turn.

Every cell trains for the same CPU time, 2 minutes, and finishes its learning-rate schedule in it; see cells.py for what
that means. That is a small part of the quickstart's 1,200 steps: what only a long run needs is not seen here. A score
is the mean share of attributes right on 500 fresh prompts, above chance, drawn with averaged weights; the cell without
them is the whole recipe's, drawn with the live ones. AdamW has a learning rate of its own, 3e-3, not searched for.

The noise of a difference is what other seeds do to a score: its standard deviation is pooled over all recipes with
several seeds; the whole recipe has three. Recipes whose difference is below twice its standard error are trained with
another seed.

Run it alone: ``python benchmarks/ablation.py [--only 'PATTERN'] [--jobs 2] [--report]``. It prints the expected total
first, goes on where it was interrupted, and writes ABLATION.md beside it.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from math import isnan, sqrt
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from cells import (
    HERE,
    QUICKSTART,
    Cell,
    Recipe,
    Results,
    Score,
    arguments,
    costs,
    document,
    expected_seconds,
    perform_all,
    steps_within,
)
from measuring import Report, Table, markdown

BUDGET = 120.0
SEEDS = (1, 2, 3)
WHOLE, LIVE = "the whole recipe", "no averaged weights"
DDPM = "scheduler={type: ddpm}"
FLOW = "scheduler={{type: flow_matching, prediction_type: velocity, {}}}"
REMOVED: Mapping[str, tuple[str, ...]] = {
    "adamw instead of muon": ("optimizer={type: adamw}", "training.learning_rate=3e-3"),
    "ddpm epsilon instead of flow matching": (DDPM, "sampling.sampler=null"),
    "shift 1 instead of 2": (FLOW.format("shift: 1.0"),),
    "no caption dropout and guidance": ("training.caption_dropout=0", "sampling.guidance_scale=1"),
    "cosine instead of linear": ("lr_scheduler={type: cosine, warmup_steps: 60}",),
    "no qk-norm": ("model.qk_norm=false",),
    "no rotary positions": ("model.positions=sincos",),
    "no warm-up": ("lr_scheduler={type: linear, warmup_steps: 0}",),
    "rmsnorm and swiglu, as large models have": ("model.norm=rmsnorm", "model.mlp=swiglu"),
}
"""What is removed, and how."""


def recipes() -> dict[str, Recipe]:
    return {WHOLE: Recipe(QUICKSTART)} | {name: Recipe(QUICKSTART, changes) for name, changes in REMOVED.items()}


def measured() -> dict[str, Recipe]:
    """The recipes whose steps take another time than the whole recipe's: another model or optimizer."""
    others = {
        name: recipe
        for name, recipe in recipes().items()
        if any(change.startswith(("model", "optimizer")) for change in recipe.changes)
    }
    return {WHOLE: recipes()[WHOLE]} | others


def cell(name: str, seed: int, cost: Mapping[str, float]) -> Cell:
    """The training of a recipe with a seed."""
    slug = name.replace(",", "").replace(" ", "_")
    return Cell(
        f"{slug}/{seed}", recipes()[name], steps_within(BUDGET, cost.get(name, cost[WHOLE])), seed, live=name == WHOLE
    )


def first_cells(cost: Mapping[str, float]) -> list[Cell]:
    """Every recipe with the first seed, and the whole one with all."""
    return [cell(name, SEEDS[0], cost) for name in recipes()] + [cell(WHOLE, seed, cost) for seed in SEEDS[1:]]


def scored(results: Results, cost: Mapping[str, float]) -> dict[str, list[Score]]:
    """The scores at the end of each recipe's cells that are done, the whole recipe first."""
    found: dict[str, list[Score]] = {}
    for name in recipes():
        for seed in SEEDS:
            for score in results.scores(cell(name, seed, cost), "tried") or ():
                found.setdefault(name if score.averaged else LIVE, []).append(score)
    return found


def spread(groups: Sequence[Sequence[float]]) -> float:
    """Standard deviation within groups, pooled; nan where no group has two values."""
    several = [group for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in several)
    if not freedom:
        return float("nan")
    return sqrt(sum(statistics.variance(group) * (len(group) - 1) for group in several) / freedom)


def standard_error(deviation: float, one: int, other: int) -> float:
    """Of a difference between two means of so many values."""
    return deviation * sqrt(1 / one + 1 / other)


def unclear(found: Mapping[str, Sequence[Score]]) -> list[str]:
    """Recipes whose difference from the whole one is below twice its standard error."""
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
    """The table, worst removal first."""
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


def _announce(results: Results, cost: Mapping[str, float], jobs: int) -> None:
    left = [one for one in first_cells(cost) if results.scores(one) is None]
    minutes = sum(expected_seconds(one, BUDGET / one.steps) for one in left) / 60 / jobs
    print(f"about {minutes:.0f} minutes for {len(left)} cells on {jobs} free cores, then repeats", flush=True)


def main() -> int:
    """Train what is missing, print the table, write it."""
    chosen = arguments(__doc__)
    results = Results(chosen.results / "ablation")
    cost = costs(measured(), results)
    if not chosen.report:
        _announce(results, cost, chosen.jobs)
        do = partial(perform_all, results=results, jobs=chosen.jobs, only=chosen.only)
        do(first_cells(cost))
        do([cell(name, SEEDS[1], cost) for name in unclear(scored(results, cost)) if name in recipes()])
    found = scored(results, cost)
    if WHOLE not in found:
        raise SystemExit("the whole recipe has not been trained yet")
    missing = [one.name for one in first_cells(cost) if results.scores(one) is None]
    notes = [f"Not measured yet: {', '.join(missing)}."] if missing else []
    if all(len(scores) == 1 for scores in found.values()):
        notes.append("One seed each so far: how far a difference is noise is not known yet.")
    text = markdown(Report("", [table(found)], notes=notes))
    print(text)
    if chosen.report or not missing:
        (HERE / "ABLATION.md").write_text(document(__doc__ or "", Path(__file__).name, [text]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
