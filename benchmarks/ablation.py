"""The quickstart's recipe with each of its choices removed in turn, and with some that it does without.

A score is the mean share of attributes right on 500 fresh prompts, above chance. AdamW has a learning rate of its own,
3e-3, not searched for. The row with averaged weights is the whole recipe's training, drawn with them.

First table: every cell trains for the same CPU time, 2 minutes, and finishes its learning-rate schedule in it; see
cells.py for what that means. The noise of a difference is what other seeds do to a score: its standard deviation is
pooled over all recipes with several seeds; the whole recipe has three. Recipes whose difference is below twice its
standard error are trained with other seeds, up to three.

Second table: two minutes are a small part of the quickstart's training, and what looks useless in them is judged at
its own length, all with the same number of steps.

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
}
"""What is another way than in the quickstart, and how."""
LENGTH = 1200
"""Steps of the quickstart."""
JUDGED = (WHOLE, NO_ROTARY, WITH_QK_NORM)
"""What is trained at that length, with every seed."""
BOTH = ("training.use_ema=true", "training.ema_decay=0.999")
"""So that both weights can be tried. An average changes no training."""


def recipes() -> dict[str, Recipe]:
    return {WHOLE: Recipe(QUICKSTART, BOTH)} | {name: Recipe(QUICKSTART, way) for name, way in CHANGED.items()}


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


def short_cells(cost: Mapping[str, float]) -> dict[str, list[Cell]]:
    """All that may be trained for the first table, by recipe."""
    return {name: [cell(name, seed, cost) for seed in SEEDS] for name in recipes()}


def long_cells() -> dict[str, list[Cell]]:
    """Those of the second table."""
    return {name: [_long_cell(name, seed) for seed in SEEDS] for name in JUDGED}


def _long_cell(name: str, seed: int) -> Cell:
    way = Recipe(QUICKSTART, (*CHANGED.get(name, ()), *BOTH))
    return Cell(f"long/{name.replace(' ', '_')}/{seed}", way, LENGTH, seed, live=True)


def scored(results: Results, cells: Mapping[str, Sequence[Cell]]) -> dict[str, list[Score]]:
    """The scores at the end of each recipe's cells that are done. Averaged weights count for the whole recipe alone."""
    found: dict[str, list[Score]] = {}
    for name, own in cells.items():
        for score in (score for one in own for score in results.scores(one, "tried") or ()):
            if name == WHOLE or not score.averaged:
                found.setdefault(AVERAGED if score.averaged else name, []).append(score)
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


def _announce(results: Results, cells: Sequence[Cell], cost: Mapping[str, float], jobs: int) -> None:
    left = [one for one in cells if results.scores(one) is None]
    minutes = sum(expected_seconds(one, cost[WHOLE]) for one in left) / 60 / jobs
    print(f"about {minutes:.0f} minutes for {len(left)} cells on {jobs} free cores, then repeats", flush=True)


def main() -> int:
    """Train what is missing, print the tables, write them."""
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
