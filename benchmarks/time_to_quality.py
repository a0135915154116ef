"""Time to quality: how fast models learn to follow captions; the quickstart's recipe and three others, 5 minutes.

Captioned shapes at 32 pixels, in pixel space. All recipes train on the same images in the same order with the same
trainable text encoder; the parameter counts of the models differ by at most 10 %:

- ours: configs/quickstart.yaml as it is;
- the original recipe: the condition added to normalised inputs, DDPM's epsilon, no caption dropout, AdamW, cosine;
- PixArt, DDPM: diffusers' PixArtTransformer2DModel, DDPM's epsilon, caption dropout, AdamW, cosine, averaged weights;
- PixArt, flow: the same with flow matching.

Each of the others uses the best of four learning rates, found in 2 minutes with another seed. PixArt is trained with
caption dropout and also gets the best of three guidance scales, and of averaged and live weights, at the end of each
race. Ours uses its config unchanged.

Time is the CPU time of a process with one thread, so that other work on the machine does not matter; see budgets.py. A
score is the mean share of correct attributes on 500 prompts of held-out images, above chance: 0 is the score of true
images of other prompts, and images without recognisable objects score below 0. All samples take 12 steps of
dpm-solver++.

Bar: with both seeds ours passes the best score of PixArt with DDPM in at most a fifth of the time; if that score is
less than 10 % above chance, ours is better at equal time.

Run it alone: ``python benchmarks/time_to_quality.py [--only 'race/ours/*'] [--jobs 2] [--report]``. It prints a
time estimate, resumes after an interrupt, and writes TIME_TO_QUALITY.md and .png next to it (the plot needs matplotlib:
``pip install 'dit-run[bench]'``).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from budgets import costs, parameters, steps_within
from cells import (
    HERE,
    MARKS,
    PROMPTS,
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

BUDGET, SEARCH_BUDGET = 300.0, 120.0
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
GUIDANCES = (1.5, 3.0, 5.0)
SEEDS, SEARCH_SEED = (1, 2), 0
MOST_APART = 0.1
LEAST_SCORE = 0.1
"""If PixArt with DDPM stays below this score, scores at equal time are compared instead of times."""
SHARE = 5
ROUNDING = 0.03
"""Relative tolerance for equal times: steps are whole numbers, and scores are taken at tenths of a race."""
ALL_MARKS = (1, 2, 4, 7, 10)
"""Tenths of the race that are scored; the first one only for ours."""
OURS, RIVAL = "ours", "PixArt, DDPM"


@dataclass(frozen=True)
class Arm:
    """A contestant."""

    config: Path
    guidances: tuple[float, ...] = ()
    """Guidance scales to try; empty uses that of the config."""
    live: bool = False
    """True also tries the weights without averaging."""
    marks: tuple[int, ...] = ALL_MARKS[1:]

    def recipe(self, rate: float | None) -> Recipe:
        return Recipe(self.config, () if rate is None else (f"training.learning_rate={rate:g}",))


ARMS: Mapping[str, Arm] = {
    OURS: Arm(QUICKSTART, marks=ALL_MARKS),
    "the original": Arm(HERE / "arms" / "original.yaml"),
    RIVAL: Arm(HERE / "arms" / "pixart_ddpm.yaml", GUIDANCES, live=True),
    "PixArt, flow": Arm(HERE / "arms" / "pixart_flow.yaml", GUIDANCES, live=True),
}


def slug(arm: str) -> str:
    return arm.replace(",", "").replace(" ", "_")


def search_cells(arm: str, cost: Mapping[str, float]) -> list[Cell]:
    """Return one short training per learning rate; none for ours."""
    if arm == OURS:
        return []
    own, steps = ARMS[arm], steps_within(SEARCH_BUDGET, cost[arm])
    return [Cell(f"search/{slug(arm)}/{rate:g}", own.recipe(rate), steps, SEARCH_SEED, live=own.live) for rate in RATES]


def found_rates(results: Results, cost: Mapping[str, float]) -> dict[str, dict[float, Score]]:
    """Return the scores of complete searches, by arm and learning rate."""
    found = {}
    for arm in ARMS:
        scores = [results.scores(cell) for cell in search_cells(arm, cost)]
        if all(scores):
            found[arm] = {rate: own[-1] for rate, own in zip(RATES, scores, strict=False) if own}
    return found


def best_rate(scores: Mapping[float, Score]) -> float | None:
    """Return the learning rate with the best score; None without a search."""
    return max(scores, key=lambda rate: scores[rate].above_chance) if scores else None


def race_cells(arm: str, rate: float | None, cost: Mapping[str, float]) -> list[Cell]:
    own, steps = ARMS[arm], steps_within(BUDGET, cost[arm])
    return [
        Cell(f"race/{slug(arm)}/{seed}", own.recipe(rate), steps, seed, own.marks, own.guidances, own.live)
        for seed in SEEDS
    ]


# -------------------------------------------------------------------------------------------------------------- report

Curves = Mapping[str, Mapping[int, Sequence[Score]]]
"""Scores by arm and seed."""


def best(scores: Sequence[Score]) -> Score:
    return max(scores, key=lambda score: score.above_chance)


def seconds_to(scores: Sequence[Score], goal: float, cost: float) -> float | None:
    """Return the CPU seconds until the first score above ``goal``."""
    return next((score.step * cost for score in scores if score.above_chance > goal), None)


def verdicts(curves: Curves, cost: Mapping[str, float]) -> list[tuple[bool, str]]:
    """Return, for each seed with both races, if the bar is passed, and the numbers."""
    lines = []
    for seed in SEEDS:
        if any(seed not in curves.get(arm, {}) for arm in (OURS, RIVAL)):
            continue
        ours, rival = curves[OURS][seed], best(curves[RIVAL][seed])
        if rival.above_chance < LEAST_SCORE:
            equal = ours[-1].above_chance
            text = f"{RIVAL} is {rival.above_chance:.1%} above chance at best, ours at equal time {equal:.1%}"
            lines.append((equal > rival.above_chance, f"seed {seed}: {text}"))
            continue
        theirs, passed = rival.step * cost[RIVAL], seconds_to(ours, rival.above_chance, cost[OURS])
        text = f"{RIVAL} has its best, {rival.above_chance:.1%} above chance, after {theirs:.0f} s"
        text += f"; ours passes it by {passed:.0f} s" if passed is not None else "; ours does not reach it"
        lines.append((passed is not None and SHARE * passed <= theirs * (1 + ROUNDING), f"seed {seed}: {text}"))
    return lines


def table(curves: Curves, cost: Mapping[str, float], rates: Mapping[str, Mapping[float, Score]]) -> Table:
    """Return the scores over time."""
    times = [f"{BUDGET * mark / MARKS:.0f} s" for mark in ALL_MARKS]
    header = ["recipe", "seed", "learning rate", "guidance", "weights", "steps", *times, "wholly right at the end"]
    rows = [
        _row(arm, seed, scores, best_rate(rates.get(arm, {})))
        for arm, by_seed in curves.items()
        for seed, scores in by_seed.items()
    ]
    return Table(header, rows)


def _row(arm: str, seed: int, scores: Sequence[Score], rate: float | None) -> list[str]:
    last = scores[-1]
    at = {round(MARKS * score.step / last.step): f"{score.above_chance:.1%}" for score in scores}
    return [
        arm,
        str(seed),
        "the config's" if rate is None else f"{rate:g}",
        f"{last.guidance:g}",
        "averaged" if last.averaged else "live",
        str(last.step),
        *(at.get(mark, "") for mark in ALL_MARKS),
        f"{last.wholly_right:.1%}",
    ]


def search_table(rates: Mapping[str, Mapping[float, Score]]) -> Table:
    """Return the results of the searches."""
    rows = [[arm, *(f"{own[rate].above_chance:.1%}" for rate in RATES)] for arm, own in rates.items() if own]
    return Table(["above chance after 2 minutes", *(f"{rate:g}" for rate in RATES)], rows)


def size_table(cost: Mapping[str, float], sizes: Mapping[str, int]) -> Table:
    """Return the size and the cost of each contestant."""
    rows = [[arm, f"{sizes[arm]:,}", f"{sizes[arm] / sizes[OURS]:.2f}", f"{cost[arm]:.3f}"] for arm in ARMS]
    return Table(["recipe", "parameters of the model", "relative to ours", "CPU seconds per step"], rows)


def draw(curves: Curves, cost: Mapping[str, float], path: Path) -> None:
    """Plot the scores over CPU time, one line per seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, (arm, by_seed) in enumerate(curves.items()):
        for seed, scores in by_seed.items():
            seconds = [score.step * cost[arm] for score in scores]
            shares = [100 * score.above_chance for score in scores]
            label = arm if seed == SEEDS[0] else None
            axes.plot(seconds, shares, color=f"C{number}", marker="o", markersize=3.5, label=label)
    axes.set_xlabel("CPU seconds of training, one thread")
    axes.set_ylabel(f"attributes right on {PROMPTS} fresh prompts,\n% of the way from chance to all")
    axes.set_xlim(0, 1.03 * BUDGET)
    axes.set_ylim(top=100)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150, metadata={"Software": None})


# ---------------------------------------------------------------------------------------------------------------- run


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Raise SystemExit if the size of a model differs too much from ours."""
    apart = [arm for arm, size in sizes.items() if abs(size / sizes[OURS] - 1) > MOST_APART]
    if apart:
        raise SystemExit(f"not within {MOST_APART:.0%} of ours in parameters: {', '.join(apart)} ({sizes})")


def _announce(results: Results, cost: Mapping[str, float], jobs: int) -> None:
    plan = [(cell, cost[arm]) for arm in ARMS for cell in (*search_cells(arm, cost), *race_cells(arm, None, cost))]
    left = [(cell, seconds) for cell, seconds in plan if not results.path(cell.name).is_file()]
    total = sum(expected_seconds(cell, seconds) for cell, seconds in left) / 60 / jobs
    print(f"about {total:.0f} minutes for {len(left)} of {len(plan)} cells, on {jobs} free cores", flush=True)


def _perform(results: Results, cost: Mapping[str, float], jobs: int, only: str) -> None:
    do = partial(perform_all, results=results, jobs=jobs, only=only)
    do([cell for arm in ARMS for cell in search_cells(arm, cost)])
    rates = found_rates(results, cost)
    for arm in sorted(set(ARMS) - set(rates)):
        print(f"{arm}: its learning rate is not known yet", flush=True)
    do([cell for arm in rates for cell in race_cells(arm, best_rate(rates[arm]), cost)])


def _curves(results: Results, cost: Mapping[str, float], rates: Mapping[str, Mapping[float, Score]]) -> Curves:
    curves: dict[str, dict[int, Sequence[Score]]] = {}
    for arm, own in rates.items():
        for seed, cell in zip(SEEDS, race_cells(arm, best_rate(own), cost), strict=True):
            if scores := results.scores(cell):
                curves.setdefault(arm, {})[seed] = scores
    return curves


def _missing(results: Results, cost: Mapping[str, float], rates: Mapping[str, Mapping[float, Score]]) -> list[str]:
    """Return the names of unfinished cells."""
    cells = [cell for arm in ARMS for cell in search_cells(arm, cost)]
    cells += [cell for arm in ARMS for cell in race_cells(arm, best_rate(rates.get(arm, {})), cost)]
    return [cell.name for cell in cells if results.scores(cell) is None]


def main() -> int:
    """Train and score the missing cells, write table and plot; return 1 if the bar is missed."""
    chosen = arguments(__doc__)
    results = Results(chosen.results / "time_to_quality")
    sizes = {arm: parameters(ARMS[arm].recipe(None)) for arm in ARMS}
    check_sizes(sizes)
    cost = costs({arm: ARMS[arm].recipe(None) for arm in ARMS}, results)
    if not chosen.report:
        _announce(results, cost, chosen.jobs)
        _perform(results, cost, chosen.jobs, chosen.only)
    rates = found_rates(results, cost)
    curves, missing = _curves(results, cost, rates), _missing(results, cost, rates)
    found = verdicts(curves, cost)
    notes = [f"- {text}: {'passed' if passed else '**missed**'}" for passed, text in found]
    notes += [f"- not measured yet: {', '.join(missing)}"] if missing else []
    report = Report("", [table(curves, cost, rates), size_table(cost, sizes), search_table(rates)])
    parts = ["![Scores over CPU time](time_to_quality.png)", "\n".join(notes), markdown(report)]
    print("\n\n".join(parts[1:]))
    if not missing or (chosen.report and curves):
        (HERE / "TIME_TO_QUALITY.md").write_text(document(__doc__ or "", Path(__file__).name, parts))
        draw(curves, cost, HERE / "time_to_quality.png")
    return int(not all(passed for passed, _ in found))


if __name__ == "__main__":
    raise SystemExit(main())
