"""The loop of a run compared with the bare step of the same model."""

from __future__ import annotations

import gc
import json
import statistics
from pathlib import Path

from .data import Source, jpeg_config
from .steps import TINY, Step
from .trial import Trial, Values, choose_device, half, seconds_of

LOGGED, INTERVALS = 10, 5
"""Steps between two logged speeds, and counted speeds."""


def loop(trial: Trial) -> Values:
    """Measure steps of a run on cached latents, and the same step on one of its batches (ms, %)."""
    from dit_run.training.encoding import BatchEncoder

    changes = TINY if trial.tiny else ()
    with jpeg_config(trial, half()) as file:
        run = _milliseconds_of_run(file, trial, *changes)
        gc.collect()  # frees the run's memory on the device
        source = Source.of(file, *changes)
        first = source.visits.__getitems__(range(source.config.training.batch_size))
        batch = BatchEncoder(source.encoders, choose_device())(first)
        bare = 1e3 * seconds_of(Step(source.config, source.encoders, batch).run, trial, least=1.0)
    return {"run (ms)": run, "bare step (ms)": bare, "overhead (%)": 100 * (run / bare - 1)}


def _milliseconds_of_run(file: Path, trial: Trial, *changes: str) -> float:
    """Return the median time of a step, by the speeds that the run logs; the first interval does not count."""
    import dit_run

    every = trial.size(LOGGED, 1)
    length = [f"training.max_steps={every * (1 + INTERVALS)}", "training.save_steps=1000000"]
    config = dit_run.load_config(file, *changes, *length, f"training.logging_steps={every}", "trackers=[]")
    dit_run.train(config)
    lines = (Path(config.training.output_dir) / "metrics.jsonl").read_text().splitlines()
    speeds = [line["images_per_second"] for line in map(json.loads, lines) if "images_per_second" in line]
    return 1e3 * config.training.batch_size / statistics.median(speeds[1:])
