"""What `dit-run plan` foretells beside what the run then takes: peak memory, seconds, bytes of a checkpoint.

Two configs, each probed and run in processes of their own, in turn: the quickstart shortened, with its validation,
pictures and scores; and a larger model alone, with AdamW and accumulation. Bar: within 10 % each.

Run it alone: ``python benchmarks/plan.py [--rounds 3]``; a minute and a half a round. This file is also a plugin file:
a callback takes the time of the run.
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
"""What is changed in the quickstart."""
WITHIN = 0.1
QUANTITIES = {"memory": ("MB", 1e6), "seconds": ("s", 1.0), "step": ("ms", 1e-3), "checkpoint": ("MB", 1e6)}


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Takes the time of a run."""


@dataclass
class Stopwatch:
    """Moments of a run's steps."""

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


def foretold(name: str, folder: Path) -> dict[str, float]:
    """What the plan says."""
    from dit_run.compute.distributed import choose_device
    from dit_run.planning.forecast import forecast
    from dit_run.planning.probe import probe
    from dit_run.reporting import Silent

    config = resolved(name, folder).config
    probed = probe(config, device=choose_device(config.training.device), reporter=Silent())
    needs = forecast(probed.measured, probed.workload)
    return {"memory": needs.peak, "seconds": needs.total, "step": needs.step, "checkpoint": needs.disk["checkpoint"]}


def taken(name: str, folder: Path) -> dict[str, float]:
    """What the run takes."""
    from dit_run.compute.distributed import choose_device
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
    """Print the table; exit status 1 where a bar is missed."""
    from measuring import Bar, Report, Table, finish, parser

    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=3, help="plans and runs of each config")
    options.add_argument("--only", nargs="*", choices=CONFIGS, help="not all configs")
    arguments = options.parse_args()
    rows, bars = [], []
    for name in arguments.only or CONFIGS:
        rounds = [(_apart("foretold", name), _apart("taken", name)) for _ in range(arguments.rounds)]
        for quantity, (unit, size) in QUANTITIES.items():
            said, real = (statistics.median(one[side][quantity] for one in rounds) for side in (0, 1))
            rows.append([f"{name}: {quantity}", f"{said / size:,.1f} {unit}", f"{real / size:,.1f} {unit}"])
            bars.append(Bar(f"{name}: {quantity} is off by", abs(said / real - 1), WITHIN, "", at_most=True))
    return finish(Report("What a plan foretells", [Table(["config", "foretold", "taken"], rows)], bars), arguments)


def _apart(side: str, name: str) -> dict[str, float]:
    """In a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--apart", side, name, str(Path(folder) / "run")]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, float] = json.loads(said.splitlines()[-1])
    return result


SIDES: Mapping[str, Any] = {"foretold": foretold, "taken": taken}

if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--apart", side, name, folder]:
            print(json.dumps(SIDES[side](name, Path(folder))))
        case _:
            raise SystemExit(main())
