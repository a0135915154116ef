"""The quickstart's recipe and the one before it, at full length: scores of three seeds.

Each run is ``configs/quickstart.yaml`` as it stands, or with the changes that lead back to the recipe before, trained
on one thread. The prompts are captions of 300 unseen images, and of 300 with a pair of colour and shape that no image
of the training data has (held out). Samples come from dpm-solver++ with 12 steps. The error of backgrounds is the mean
absolute difference, on a scale of 255, from the true flat colour. The recipe computes in bfloat16 on a processor with
AMX, as the one named below; the same steps in full precision take 1.3 to 1.4 times the time there.

Run it alone: ``python benchmarks/recipe.py [--jobs 2] [--report]``. It resumes after an interrupt, and writes RECIPE.md
next to it. A run takes 10 to 25 minutes of a thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from cells import HERE, QUICKSTART, document, train_alone
from measuring import Report, Table, markdown
from run_scores import score_run

PROMPTS = 300
"""Prompts of each kind: seen and held out."""
SEEDS = (1, 2, 3)
NOW, BEFORE = "the recipe", "the recipe before"
CHANGES: Mapping[str, tuple[str, ...]] = {
    NOW: (),
    BEFORE: (
        "model.zero_outputs=false",
        "model.modulation=adaln_single",
        "model.attention_convolution=false",
        "optimizer.adamw_rate=1",
        "training.batch_size=64",
        "training.max_steps=1200",
        "training.mixed_precision=no",
        "sampling.guidance_scale=3",
    ),
}
COLUMNS = {
    "wholly right": "shapes/wholly_right",
    "held out": "shapes/held_out_wholly_right",
    "above chance": "shapes/above_chance",
    "error of backgrounds": "shapes/background_error",
}


def main() -> int:
    """Train and score what is missing, then print and write the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--jobs", type=int, default=2, help="runs at a time")
    options.add_argument("--results", type=Path, default=HERE / "results" / "recipe", help="folder of the runs")
    options.add_argument("--report", action="store_true", help="write the page from finished runs, without training")
    chosen = options.parse_args()
    runs = {(name, seed): chosen.results / f"{name.replace(' ', '_')}-{seed}" for seed in SEEDS for name in CHANGES}
    if not chosen.report:
        with ThreadPoolExecutor(chosen.jobs) as pool:
            list(pool.map(lambda key: perform(*key, runs[key]), runs))
    found = {key: json.loads(_scores_of(run).read_text()) for key, run in runs.items() if _scores_of(run).exists()}
    missing = [f"{name} with seed {seed}" for name, seed in runs if (name, seed) not in found]
    notes = [f"Not measured: {', '.join(missing)}."] if missing else []
    text = markdown(Report("", [table(found)], notes=notes))
    print(text)
    (HERE / "RECIPE.md").write_text(document(__doc__ or "", Path(__file__).name, [text]))
    return 0


def perform(name: str, seed: int, run: Path) -> None:
    """Train a run, score its last checkpoint, and store the scores in the run folder."""
    if _scores_of(run).exists():
        return
    words = [str(QUICKSTART), *CHANGES[name], f"training.seed={seed}", f"training.output_dir={run}"]
    seconds = train_alone(words)
    steps = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    scores, _ = score_run(run, PROMPTS)
    _scores_of(run).write_text(json.dumps({"seconds": seconds, "steps": steps, **scores}))


def table(found: Mapping[tuple[str, int], Mapping[str, float]]) -> Table:
    """Return a row for each recipe: means over its seeds, and each seed's share of wholly right images."""
    rows = []
    for name in CHANGES:
        own = [found[name, seed] for seed in SEEDS if (name, seed) in found]
        if own:
            rows.append([name, f"{own[0]['steps']:,}", _spread([one["seconds"] for one in own], "{:,.0f}")])
            rows[-1] += [
                _spread([one[key] for one in own], "{:.1f}" if "error" in key else "{:.1%}") for key in COLUMNS.values()
            ]
    return Table(["recipe", "steps", "processor seconds", *COLUMNS], rows)


def _spread(values: Sequence[float], form: str) -> str:
    """Return the mean, and each value if there are several."""
    each = f" ({', '.join(map(form.format, values))})" if len(values) > 1 else ""
    return form.format(statistics.mean(values)) + each


def _scores_of(run: Path) -> Path:
    return run / "recipe_scores.json"


if __name__ == "__main__":
    raise SystemExit(main())
