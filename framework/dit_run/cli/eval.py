"""``dit-run eval``: score a trained run with its metrics."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dit_run.cli.common_options import add_overrides, add_run, print_notes
from dit_run.problems import InputError

if TYPE_CHECKING:
    from PIL import Image

    from dit_run.sampling.sampling_request import SamplingRequest

__all__ = ["configure", "run"]

_ERROR = "/standard_error"
"""Part of the name of a standard error, after the score's own name: ``clip_score/MODEL_n500/standard_error``."""


def configure(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    add_overrides(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")


def run(arguments: argparse.Namespace) -> int:
    from dit_run.assembly.prepare import build_data
    from dit_run.cli.progress import progress_on_stderr
    from dit_run.sampling.load_run import open_run
    from dit_run.sampling.trained_config import SCORED
    from dit_run.system.output import output_to_stderr
    from dit_run.training.scoring import build_metrics, score, scoring_notices

    trained = open_run(
        Path(arguments.run),
        arguments.overrides,
        SCORED,
        checkpoint=arguments.checkpoint,
        ema=not arguments.no_ema,
        average=arguments.average,
        allow_plugins=arguments.allow_plugins,
    )
    print_notes(trained.notices, arguments)
    if not trained.config.metrics:
        raise InputError(f"{arguments.run} has no metrics; add some: dit-run eval RUN 'metrics=[{{type: ...}}]'")
    data = build_data(trained.config)
    metrics = build_metrics(trained.config, data)
    print_notes(scoring_notices(metrics, trained.config, data), arguments)
    with output_to_stderr(), progress_on_stderr(quiet=arguments.quiet) as reporter:

        def sample(request: SamplingRequest, name: str) -> list[Image.Image]:
            return trained.pipeline.generate(request, reporter, f"sampling for {name}")

        scores = score(metrics, trained.config, data, sample)
    if arguments.json:
        weights = "model" if trained.average is None else trained.average
        print(json.dumps({"checkpoint": trained.checkpoint.name, "weights": weights, **scores}))
    else:
        print(f"{trained.checkpoint.name}, {_weights(trained.average)}")
        for line in _lines(scores):
            print(line)
    return 0


def _weights(average: str | None) -> str:
    if average is None:
        return "trained weights"
    return "averaged (EMA) weights" if average == "ema" else f"averaged weights ({average})"


def _lines(scores: Mapping[str, float]) -> Iterator[str]:
    """Yield a line for each score, with its standard error where the metric has one."""
    errors = {name.replace(_ERROR, ""): value for name, value in scores.items() if _ERROR in name}
    shown = [name for name in scores if _ERROR not in name]
    width = max(map(len, shown), default=0)
    for name in shown:
        error = f" ± {errors[name]:.4f}" if name in errors else ""
        yield f"{name:<{width}}  {scores[name]:.4f}{error}"
