"""A run on a folder of images: fall of the validation loss until the end, and benefit of averaged weights.

Trains ``configs/emoji.yaml`` on a folder of named emoji, or continues that run, and reads its metrics. Bars: the mean
validation loss of the last quarter is below that of the third; at half of the run, the loss of the averaged weights is
at most that of the live weights. Run it alone: ``python benchmarks/emoji.py --data FOLDER``; it takes about 20 minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from measuring import Bar, Report, Table, finish, parser

ROOT = Path(__file__).resolve().parent.parent
CURVES = {
    "held out": "validation/loss",
    "held out, averaged weights": "validation/loss_ema",
    "training, averaged weights": "probe/loss_ema",
}
QUARTERS = 4


def main() -> int:
    """Print the table; return 1 if a bar is missed."""
    options = parser(__doc__)
    options.add_argument("--data", default="../shared/data/emoji", help="the images, with their metadata.jsonl")
    options.add_argument("--run", type=Path, default=ROOT / "outputs" / "emoji", help="the run folder")
    options.add_argument("overrides", nargs="*", metavar="key=value", help="values that override the config")
    arguments = options.parse_args()
    _train(arguments)
    rows = [json.loads(line) for line in (arguments.run / "metrics.jsonl").read_text().splitlines()]
    curves = {name: [(row["step"], row[key]) for row in rows if key in row] for name, key in CURVES.items()}
    return finish(_report(curves, arguments.run), arguments)


def _train(arguments: argparse.Namespace) -> None:
    words = ["configs/emoji.yaml", f"data.dataset_path={arguments.data}", f"training.output_dir={arguments.run}"]
    subprocess.run([sys.executable, "-m", "dit_run", *words, *arguments.overrides], check=True, cwd=ROOT)


def _report(curves: dict[str, list[tuple[int, float]]], run: Path) -> Report:
    total = max(step for step, _ in curves["held out"])
    means = {name: [_mean(curve, quarter, total) for quarter in range(QUARTERS)] for name, curve in curves.items()}
    middle = min((step for step, _ in curves["held out"]), key=lambda step: abs(step - total / 2))
    live, averaged = (dict(curves[name])[middle] for name in ("held out", "held out, averaged weights"))
    rows = [[name, *(f"{mean:.4f}" for mean in values)] for name, values in means.items()]
    bars = [
        Bar(
            "validation loss, last quarter ÷ third quarter",
            means["held out"][3] / means["held out"][2],
            1,
            at_most=True,
        ),
        Bar(f"validation loss at step {middle:,}, averaged weights ÷ live weights", averaged / live, 1, at_most=True),
    ]
    table = Table(["mean loss", *(f"quarter {number}" for number in range(1, QUARTERS + 1))], rows)
    return Report(f"Emoji at 32 pixels, {total:,} steps", [table], bars, [f"Samples: {_shown(run / 'samples')}."])


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _mean(curve: Sequence[tuple[int, float]], quarter: int, total: int) -> float:
    """Return the mean over a quarter of the run."""
    return fmean(value for step, value in curve if quarter * total < QUARTERS * step <= (quarter + 1) * total)


if __name__ == "__main__":
    raise SystemExit(main())
