"""Predictions of `dit-run plan` compared with the run: peak memory, time, size of a checkpoint.

Two configs are planned and run in turn, each in its own process: the shortened quickstart with validation, samples and
metrics; and a larger model without them, with AdamW and accumulation. Bar: each prediction within 10 %.

Run it alone: ``python benchmarks/plan.py [--rounds 3]``; each round takes a minute and a half. This file is also a
plugin file: a callback measures the time of the run.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dit_run import Component, Kind, hookimpl

if TYPE_CHECKING:
    from dit_run.config.resolve import Resolution
    from dit_run.protocols import Progress

QUICKSTART = Path(__file__).resolve().parent.parent / "configs" / "quickstart.yaml"
CONFIGS: Mapping[str, tuple[str, ...]] = {
    "quickstart": (
        "training.max_steps=40", "training.save_steps=20", "lr_scheduler.warmup_steps=10",
        "validation.every_n_steps=20", "sampling.every_n_steps=40", "metrics=[{type: shapes, count: 50}]",
    ),
    "larger": (
        "model.hidden_size=384", "model.num_layers=8", "model.num_heads=6", "data.image_size=64",
        "optimizer.type=adamw", "training.learning_rate=1e-3", "training.batch_size=8",
        "training.gradient_accumulation_steps=2", "training.max_steps=20", "training.save_steps=10",
        "lr_scheduler.warmup_steps=5",
        "validation.every_n_steps=null", "sampling.every_n_steps=null", "metrics=[]",
    ),
}  # fmt: skip
"""Changes to the quickstart."""
WITHIN = 0.1
QUANTITIES = {"memory": ("MB", 1e6), "seconds": ("s", 1.0), "step": ("ms", 1e-3), "checkpoint": ("MB", 1e6)}


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Measure the time of a run."""


@dataclass
class Stopwatch:
    """Times at which the steps of a run end (seconds)."""

    moments: list[float] = field(default_factory=list)

    def on_train_start(self, progress: Progress) -> None:
        self.moments.append(time.perf_counter())

    def on_step_end(self, progress: Progress) -> None:
        self.moments.append(time.perf_counter())

    def on_train_end(self, progress: Progress) -> None:
        (progress.run_dir / "moments.json").write_text(json.dumps([*self.moments, time.perf_counter()]))


def build(options: Watch) -> Stopwatch:
    return Stopwatch()


@hookimpl
def dit_run_components() -> Iterable[Component]:
    return [Component(Kind.CALLBACK, "watch", Watch, build)]


def resolved(name: str, folder: Path) -> Resolution:
    from dit_run.config.resolve import resolve

    plugin = [f"plugins=[{Path(__file__).resolve()}]", "callbacks=[{type: watch}]"]
    return resolve(QUICKSTART, [*CONFIGS[name], *plugin, f"training.output_dir={folder}"])


def predicted(name: str, folder: Path) -> dict[str, float]:
    """Return the predictions of the plan."""
    from dit_run.compute.devices import choose_device
    from dit_run.planning.forecast import forecast
    from dit_run.planning.probe import probe
    from dit_run.reporting import Silent

    config = resolved(name, folder).config
    probed = probe(config, device=choose_device(config.training.device), reporter=Silent())
    needs = forecast(probed.measured, probed.workload)
    return {"memory": needs.peak, "seconds": needs.total, "step": needs.step, "checkpoint": needs.disk["checkpoint"]}


def measured(name: str, folder: Path) -> dict[str, float]:
    """Return what the run took."""
    from dit_run.compute.devices import choose_device
    from dit_run.compute.memory_meter import MemoryMeter
    from dit_run.reporting import Silent
    from dit_run.training.run import train

    resolution = resolved(name, folder)
    meter = MemoryMeter(choose_device(resolution.config.training.device))
    train(resolution.config, resolution.registry, reporter=Silent())
    moments = json.loads((folder / "moments.json").read_text())
    steps = [after - before for before, after in pairwise(moments[:-1])]
    last = max((folder / "checkpoints").glob("step-*"))
    return {
        "memory": float(meter.peak),
        "seconds": moments[-1] - moments[0],
        "step": statistics.median(steps),
        "checkpoint": float(sum(path.stat().st_size for path in last.iterdir())),
    }


def main() -> int:
    """Print the table; return 1 if a bar is missed."""
    from measuring import Bar, Report, Table, finish, parser

    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=3, help="plans and runs of each config")
    options.add_argument("--only", nargs="*", choices=CONFIGS, help="plan and run only these configs")
    arguments = options.parse_args()
    rows, bars = [], []
    for name in arguments.only or CONFIGS:
        rounds = [(_apart("predicted", name), _apart("measured", name)) for _ in range(arguments.rounds)]
        for quantity, (unit, size) in QUANTITIES.items():
            said, real = (statistics.median(one[side][quantity] for one in rounds) for side in (0, 1))
            rows.append([f"{name}: {quantity}", f"{said / size:,.1f} {unit}", f"{real / size:,.1f} {unit}"])
            bars.append(Bar(f"{name}: relative error of {quantity}", abs(said / real - 1), WITHIN, "", at_most=True))
    return finish(
        Report("Predictions of dit-run plan", [Table(["config", "predicted", "measured"], rows)], bars), arguments
    )


def _apart(side: str, name: str) -> dict[str, float]:
    """Measure one side in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--apart", side, name, str(Path(folder) / "run")]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, float] = json.loads(said.splitlines()[-1])
    return result


SIDES: Mapping[str, Any] = {"predicted": predicted, "measured": measured}

if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--apart", side, name, folder]:
            print(json.dumps(SIDES[side](name, Path(folder))))
        case _:
            raise SystemExit(main())
